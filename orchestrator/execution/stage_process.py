"""A stage in a process of its own: what that is called with, what it imports, and what it does.

Whoever starts it need not load torch. Knows no cluster.
"""

from collections.abc import Mapping
from dataclasses import asdict
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

# What the process tells, as {COMPUTES: the stage's key}, once the stage has its device.
COMPUTES = "computes"

_TASK = TypeAdapter(StageTask)
_FAILURE: TypeAdapter[Failure | None] = TypeAdapter(Failure | None)
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
    """Return the call that runs a stage of one rank to its commit.

    It returns what ``outcome_of`` reads. ``node`` is where it runs. Stages that train nothing and
    have no GPU may follow each other in one process; a measurement's memory is to be its own.
    """
    spec = task.spec
    trains = spec.kind in (StageKind.RANKING, StageKind.TRANSFER)
    alone = trains or task.layout.gpus > 0 or spec.kind is StageKind.MEASURE
    payload = {"task": _TASK.dump_python(task, mode="json"), "node": asdict(node)}
    target = f"{__name__}:run"
    return Call(target, payload, environment, spec.key, may_follow=not alone)


def run(payload: Mapping[str, Any], channel: "Channel") -> Any:
    """Run the stage in this process; return what ``outcome_of`` reads."""
    from orchestrator.execution.run_stage import run_task

    task, node = _TASK.validate_python(payload["task"]), Node(**payload["node"])
    failure = run_task(task, channel.leaving, lambda: channel.tell({COMPUTES: task.spec.key}), node)
    return _FAILURE.dump_python(failure, mode="json")


def outcome_of(returned: Any) -> Failure | None:
    """Return the failure of the stage, which is recorded; None where it did its work."""
    return _FAILURE.validate_python(returned)
