"""A stage in a process of its own: what that is called with, what it imports, and what it does.

Whoever starts it need not load torch. Knows no cluster.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from orchestrator.execution.stage_task import StageTask
from orchestrator.processes.kernel import has_gpus
from orchestrator.processes.place import Preload
from orchestrator.processes.request import Call
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import NOWHERE, Failure, Node

if TYPE_CHECKING:
    from orchestrator.processes.child import Channel

# What the process tells, as {COMPUTES: the stage's key}, once the stage has its device; and as
# {DONE: the key} of each of several that follow one another, once it is committed.
COMPUTES = "computes"
DONE = "done"

Outcomes = Mapping[str, Failure | None]  # of the stages that a process came to, by key

_TASK = TypeAdapter(StageTask)
_OUTCOMES: TypeAdapter[dict[str, Failure | None]] = TypeAdapter(dict[str, Failure | None])
_FOLDERS = tuple(
    str(Path(__file__).resolve().parents[2] / name) for name in ("orchestrator", "trsp")
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
    "trsp.data.blocks",
    "trsp.surgery",
    "trsp.evaluation.evaluate",
    "trsp.evaluation.measure",
    "datasets",
)
# These import DeepSpeed, which asks for GPUs as it is imported: only where there are none at all.
_TRAINING = ("trsp.selection", "trsp.transfer")
_LEARNED = ("transformers.", "tokenizers.", "safetensors.", "lm_eval", "datasets.", "pyarrow.",
            "trsp.", "orchestrator.", "accelerate.", "torch.")  # fmt: skip


def preload() -> Preload:
    """Return what the fork server of stages imports on this node."""
    return Preload(_FOLDERS, _MODULES if has_gpus() else (*_MODULES, *_TRAINING), _LEARNED)


def stage_call(task: StageTask, environment: Mapping[str, str], node: Node = NOWHERE) -> Call:
    """Return the call that runs a stage of one rank to its commit, and those that follow it.

    It returns what ``outcomes_of`` reads. ``node`` is where it runs. Stages that train nothing and
    have no GPU may follow each other in one process; a measurement's memory is to be its own.
    """
    spec = task.spec
    trains = spec.kind in (StageKind.RANKING, StageKind.TRANSFER)
    members = [each.spec.kind for each in (task, *task.then)]
    alone = trains or task.layout.gpus > 0 or StageKind.MEASURE in members
    payload = {"task": _TASK.dump_python(task, mode="json"), "node": asdict(node)}
    target = f"{__name__}:run"
    return Call(target, payload, environment, spec.key, may_follow=not alone)


def run(payload: Mapping[str, Any], channel: "Channel") -> Any:
    """Run a stage in this process, and those that follow it; return what ``outcomes_of`` reads."""
    from orchestrator.execution.chain import run_chain
    from orchestrator.execution.run_stage import run_task

    def computes(key: str) -> None:
        channel.tell({COMPUTES: key})

    def done(key: str) -> None:
        channel.tell({DONE: key})

    task, node = _TASK.validate_python(payload["task"]), Node(**payload["node"])
    if task.then:
        outcomes = run_chain(task, channel.leaving, computes, done, node)
    else:
        key = task.spec.key
        outcomes = {key: run_task(task, channel.leaving, partial(computes, key), node)}
    return _OUTCOMES.dump_python(dict(outcomes), mode="json")


def outcomes_of(returned: Any) -> Outcomes:
    """Return what became of each stage that the process came to: None, or the recorded failure."""
    return _OUTCOMES.validate_python(returned)
