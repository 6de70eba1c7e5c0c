"""A stage in a process of its own: what that is called with, what it imports, and what it does.

Whoever starts it need not load torch. Knows no cluster.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from orchestrator.execution.apart.freed_memory import is_worth_keeping, keep_freed_memory
from orchestrator.execution.stage_task import StageTask
from orchestrator.processes.kernel import has_gpus
from orchestrator.processes.place import Preload
from orchestrator.processes.request import Call
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import NOWHERE, Failure, Node

if TYPE_CHECKING:
    from orchestrator.processes.child import Channel

# What the process tells of a stage: it has its device; it is committed; how far it has come.
COMPUTES, DONE, PROGRESS = "computes", "done", "progress"

Outcomes = Mapping[str, Failure | None]  # of the stages that a process came to, by key

_TASK = TypeAdapter(StageTask)
_OUTCOMES: TypeAdapter[dict[str, Failure | None]] = TypeAdapter(dict[str, Failure | None])
_ALONE = (StageKind.RANKING, StageKind.TRANSFER, StageKind.MEASURE)
_FOLDERS = tuple(
    str(Path(__file__).resolve().parents[3] / name) for name in ("orchestrator", "trsp")
)
# In the order in which they are imported. What computes comes in by the libraries of these.
_MODULES = (
    "orchestrator.execution.run_stage",
    "torch",
    "safetensors.torch",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "trsp.checkpoints.checkpoint",
    "orchestrator.execution.apart.warmed",
    "trsp.data.blocks",
    "trsp.surgery",
    "trsp.evaluation.evaluate",
    "trsp.evaluation.measure",
    "datasets",
)
_LEARNED = (
    *("transformers.", "tokenizers.", "safetensors.", "lm_eval", "datasets.", "pyarrow.", "torch."),
    *("orchestrator.", "trsp.checkpoints.", "trsp.data.", "trsp.evaluation."),
)
# These import DeepSpeed, which asks for GPUs as it is imported: only where there are none at all.
_TRAINING, _LEARNED_OF_TRAINING = ("trsp.selection", "trsp.transfer"), ("trsp.", "deepspeed")


def preload() -> Preload:
    """Return what the fork server of stages imports on this node."""
    if has_gpus():
        return Preload(_FOLDERS, _MODULES, _LEARNED)
    return Preload(_FOLDERS, (*_MODULES, *_TRAINING), (*_LEARNED, *_LEARNED_OF_TRAINING))


def stage_call(task: StageTask, environment: Mapping[str, str], node: Node = NOWHERE) -> Call:
    """Return the call that runs a stage of one rank, and those of its ``then``, to their commits.

    It tells ``{COMPUTES: KEY}``, ``{DONE: KEY}`` and ``{PROGRESS: [KEY, WORDS]}``, and returns what
    ``outcomes_of`` reads.
    ``node`` is where it runs. Stages that train nothing and have no GPU may follow each other in
    one process.
    """
    payload = {"task": _TASK.dump_python(task, mode="json"), "node": asdict(node)}
    stages = task, *task.then
    return Call(
        target=f"{__name__}:run",
        payload=payload,
        environment=environment,
        title=task.spec.key,
        may_follow=all(map(_leaves_nothing, stages)),
        forks=not any(map(_tells_its_resident_set, stages)),
    )


def _leaves_nothing(task: StageTask) -> bool:
    """Whether another stage can be computed after this one as in a fresh process."""
    return task.spec.kind not in _ALONE and not task.layout.gpus


def _tells_its_resident_set(task: StageTask) -> bool:
    """Whether the memory of its process is a result: no other's imports may count there."""
    return task.spec.kind is StageKind.MEASURE and not task.layout.gpus


def run(payload: Mapping[str, Any], channel: "Channel") -> Any:
    """Run the stages in this process; return what ``outcomes_of`` reads."""
    task, node = _TASK.validate_python(payload["task"]), Node(**payload["node"])
    key = task.spec.key
    if is_worth_keeping(task):
        keep_freed_memory()

    def computes(key: str) -> None:
        channel.tell({COMPUTES: key})

    def done(key: str) -> None:
        channel.tell({DONE: key})

    def tells(key: str, progress: str) -> None:
        channel.tell({PROGRESS: [key, progress]})

    if task.then:
        from orchestrator.execution.chain import run_chain

        outcomes = run_chain(task, channel.leaving, computes, done, node, tells)
    else:
        from orchestrator.execution.run_stage import run_task

        failure = run_task(task, channel.leaving, partial(computes, key), node, partial(tells, key))
        outcomes = {key: failure}
    channel.last = any(outcomes.values())  # what is tried again begins afresh
    return _OUTCOMES.dump_python(dict(outcomes), mode="json")


def outcomes_of(returned: Any) -> Outcomes:
    """Return how each stage ended, by its key: None where it did its work, else the failure.

    Failures are recorded. Stages that are absent were not reached.
    """
    return _OUTCOMES.validate_python(returned)
