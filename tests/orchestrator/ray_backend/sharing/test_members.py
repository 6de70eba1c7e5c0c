"""How the stages of one process end, each by itself."""

from dataclasses import replace

import pytest

from orchestrator.execution.launcher import Finished
from orchestrator.execution.stage_task import StageTask
from orchestrator.ray_backend.sharing.begun import Begun, Sign, _begun
from orchestrator.ray_backend.sharing.members import committed, ended
from orchestrator.ray_backend.sharing.submitted import Submitted
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.failures import Failure, FailureKind

SPECS = [StageSpec(kind, {}) for kind in (StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE)]
TRANSFER, PRUNE, EVALUATE = (spec.key for spec in SPECS)
GONE = Failure("WorkerCrashedError", "ended by SIGKILL", FailureKind.LOST)


def submitted(*, computed: set[str] = frozenset(), done: set[str] = frozenset()) -> Submitted:  # type: ignore[assignment]
    first, *then = (StageTask(spec, "store") for spec in SPECS)
    begun = Begun(bool(computed), {0: "node"}, frozenset(computed), frozenset(done))
    return Submitted(None, replace(first, then=tuple(then)), Sign("x/"), {"CPU": 1.0}, begun)


def gone(task: StageTask) -> Failure:
    return replace(GONE, message=task.spec.kind)


def test_a_stage_is_told_of_once_while_its_process_goes_on() -> None:
    attempt = submitted(computed={TRANSFER, PRUNE}, done={TRANSFER})
    assert committed(attempt) == (Finished(TRANSFER, None),)
    assert committed(attempt) == ()
    assert attempt.computing == {PRUNE}


def test_with_the_process_the_others_end_as_it_says() -> None:
    attempt = submitted(computed={TRANSFER, PRUNE}, done={TRANSFER})
    committed(attempt)
    ends = ended(attempt, {TRANSFER: None, PRUNE: GONE}, gone)
    assert ends == (Finished(PRUNE, GONE), Finished(EVALUATE, None, reached=False))


def test_a_process_without_a_word_is_the_failure_of_the_stage_that_computed_last() -> None:
    attempt = submitted(computed={TRANSFER, PRUNE})
    transfer, prune, evaluate = ended(attempt, None, gone)
    assert (transfer.reached, transfer.failure) == (False, None), "it went with the process"
    assert prune.failure == gone(attempt.task.then[0])
    assert not evaluate.reached


def test_a_process_that_never_began_is_the_failure_of_its_first_stage() -> None:
    transfer, *others = ended(submitted(), None, gone)
    assert transfer.failure is not None
    assert [each.reached for each in others] == [False, False]


def test_what_was_committed_before_the_process_went_is_done() -> None:
    attempt = submitted(computed={TRANSFER, PRUNE, EVALUATE}, done={TRANSFER, PRUNE, EVALUATE})
    assert ended(attempt, None, gone) == tuple(Finished(spec.key, None) for spec in SPECS)


@pytest.mark.parametrize(
    ("done", "ends"), [(set(), False), ({TRANSFER}, False), ({TRANSFER, PRUNE}, True)]
)
def test_a_process_ends_at_a_cancelled_turn_once_what_came_before_is_committed(
    done: set[str], ends: bool
) -> None:
    attempt = submitted(computed={TRANSFER, PRUNE, EVALUATE}, done=done)
    attempt.ends_at = {EVALUATE}
    assert attempt.ends_now is ends


def test_it_does_not_end_before_the_turn_has_come() -> None:
    attempt = submitted(computed={TRANSFER}, done={TRANSFER})
    attempt.ends_at = {EVALUATE}
    assert not attempt.ends_now


def test_signs_name_the_stages_that_they_are_of() -> None:
    names = ["0/node", "computes/transfer-1", "computes/prune-2", "done/transfer-1"]
    assert _begun(names) == Begun(
        True, {0: "node"}, frozenset({"transfer-1", "prune-2"}), frozenset({"transfer-1"})
    )


def test_a_stage_that_is_alone_says_that_it_computes_without_its_name() -> None:
    assert _begun(["0/node", "computes/"]) == Begun(True, {0: "node"})


def test_there_is_more_to_hear_until_all_stages_are_committed() -> None:
    keys = {TRANSFER, PRUNE, EVALUATE}
    assert not submitted(computed=keys, done={TRANSFER}).complete
    assert submitted(computed=keys, done=keys).complete
