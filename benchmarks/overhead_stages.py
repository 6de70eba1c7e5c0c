"""The made-up stages and trials of benchmarks.overhead: nothing, or one forward of a tiny model."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from benchmarks.made_up_grid import finish
from orchestrator.execution import run_stage
from orchestrator.execution.apart import stage_process
from orchestrator.execution.apart.stage_process import Outcomes
from orchestrator.execution.stage_task import RankContext, StageTask
from orchestrator.processes.child import Channel
from orchestrator.processes.request import Call
from orchestrator.ray_backend import workers
from orchestrator.ray_backend.sharing.begun import Sign
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.failures import NOWHERE, Node

HERE = __name__


def one_rank(model: str, reuse: bool) -> Callable[[StageTask, Sign], Outcomes]:
    """Return what Ray calls in place of ``workers.run_one_rank``: the same, with made-up stages.

    ``model``: the folder of a model to load for each stage; empty: none. ``reuse``: whether stages
    may follow each other in one process; else each has a fresh one.
    """

    def run_one_rank(task: StageTask, sign: Sign) -> Outcomes:
        def call(task: StageTask, environment: Mapping[str, str], node: Node = NOWHERE) -> Call:
            real = stage_process.stage_call(task, environment, node)
            payload = {**real.payload, "model": model}
            return replace(real, target=f"{HERE}:run", payload=payload, may_follow=reuse)

        workers.stage_call = call
        return workers.run_one_rank(task, sign)

    return run_one_rank


def run(payload: Mapping[str, Any], channel: Channel) -> Any:
    """Run the stage in its process, made up."""

    def stage(context: RankContext) -> None:
        if payload["model"]:
            forward(payload["model"])
        finish(context.store, context.task.spec, context.task.ticket)

    run_stage.STAGES = dict.fromkeys(StageKind, stage)
    return stage_process.run(payload, channel)


def forward(model: str) -> float:
    """Load a model as a stage does, and return the mean of its logits for one block."""
    import torch

    from trsp.checkpoints.checkpoint import load_model

    loaded = load_model(model, None, "auto")
    with torch.no_grad():
        return float(loaded(torch.arange(32).unsqueeze(0)).logits.mean())


def trial(config: Mapping[str, Any]) -> dict[str, float]:
    """Do in a trial of Ray Tune what a stage does."""
    return {"value": forward(config["model"]) if config["model"] else 1.0}
