"""What each kind of stage does: read from the store, compute with trsp, commit.

It knows no cluster and no MLflow. Everything that may change a result comes from ``spec.inputs``;
``spec.locations`` only says where that content lies. A stage of several ranks runs here once on
each rank, all with the same task; rank 0 alone publishes and commits.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from orchestrator.execution.checkpoint_stages import run_pruning, run_transfer
from orchestrator.execution.evaluation_items import evaluate_items
from orchestrator.execution.libraries import importing_first
from orchestrator.execution.stage_inputs import (
    input_model,
    load_for_training,
    load_original,
    original_layer_count,
    stage_calibration_blocks,
)
from orchestrator.execution.stage_task import RankContext
from orchestrator.execution.versions import versions
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.stages.timings import Phase
from trsp.config import MeasurementSettings, Selector
from trsp.records import RoundRecord

_SELECTOR: TypeAdapter[Any] = TypeAdapter(Selector)


def _run_ranking(context: RankContext) -> None:
    """Publish the rounds that are not there yet, each when it is known.

    There is no other result, for a ranking is never finished, only deep enough.
    """
    from trsp.distributed.device import seed_everything

    spec, store = context.task.spec, context.store
    done = store.rankings.rounds(spec.key)
    if context.leads:
        store.stages.write_spec(spec)
    if spec.inputs["calibration"] is None:
        for record in _unseen_rounds(spec)[len(done) :]:
            context.publish(record)
        return
    seed_everything(spec.inputs["seed"] or 0)
    with context.timings.phase(Phase.LOAD):
        model, tokenizer = load_for_training(context)
        blocks = stage_calibration_blocks(spec, tokenizer, model.config.to_dict())
    with context.training() as progress:
        for record in _new_rounds(context, model, blocks, done, progress):
            if context.leads:
                context.publish(record)
    if context.leads:
        store.claims.log.require(context.task.ticket)
        store.stages.drop_snapshots(spec.key)


def _unseen_rounds(spec: StageSpec) -> Sequence[RoundRecord]:
    """Return all rounds of an order that looks at nothing: no weights are read for it."""
    from trsp.selection import rank_unseen

    selector = _SELECTOR.validate_python(spec.inputs["selector"])
    layers = original_layer_count(spec)
    return rank_unseen(layers, selector, depth=spec.depth, seed=spec.inputs["seed"] or 0)


def _new_rounds(
    context: RankContext,
    model: Any,
    blocks: Any,
    done: Sequence[RoundRecord],
    progress: Any,
) -> Iterable[RoundRecord]:
    """Return the ranking's rounds after those already ``done``, computed one by one on demand."""
    from trsp.selection import rank_layers

    task, spec = context.task, context.task.spec
    return rank_layers(
        model,
        blocks,
        _SELECTOR.validate_python(spec.inputs["selector"]),
        depth=spec.depth,
        gate_l1=spec.inputs["gate_l1"] or 0.0,
        seed=spec.inputs["seed"] or 0,
        done=done,
        engine=task.layout.engine,
        progress=progress,
        lr_scale=task.lr_scale,
    )


def _run_evaluation(context: RankContext) -> None:
    """Commit the scores of the checkpoint that the stage reads."""
    record, by = evaluate_items(context, lambda: input_model(context))
    context.commit(record.model_dump(mode="json"), by)


def _run_dense(context: RankContext) -> None:
    """Commit the unpruned model's scores and size, by the same code as a checkpoint's."""
    from trsp.checkpoints.checkpoint import dense_record

    spec, started = context.task.spec, time.monotonic()
    with context.timings.phase(Phase.LOAD):
        model, tokenizer = load_original(spec)
    evaluation, by = evaluate_items(context, lambda: (model, tokenizer))
    record = {
        "checkpoint": dense_record(model).model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "seconds": time.monotonic() - started,
    }
    context.commit(record, by or versions())


def _run_measurement(context: RankContext) -> None:
    """Commit the speed and memory of the model that the stage reads, on this hardware.

    Nobody else of this machine computes on its device meanwhile.
    """
    from trsp.evaluation.measure import measure

    spec = context.task.spec
    settings = MeasurementSettings.model_validate(spec.inputs["measurement"])
    with context.sharing_devices():
        model, _ = input_model(context)
    context.may_publish(wait=True)  # nothing of ours is busy meanwhile
    gc.collect()  # nor does anything lie there that a stage before it in this process left
    record = measure(model, settings, spec.inputs["hardware"], context.task.device_wait_s)
    context.commit(record.model_dump(mode="json"), versions())


# What each kind of stage does in a process of it: RankContext -> None; it raises what goes wrong.
STAGES: Mapping[StageKind, Callable[[RankContext], None]] = {
    StageKind.DENSE: importing_first(_run_dense),
    StageKind.RANKING: importing_first(_run_ranking),
    StageKind.TRANSFER: importing_first(run_transfer),
    StageKind.PRUNE: importing_first(run_pruning),
    StageKind.EVALUATE: importing_first(_run_evaluation),
    StageKind.MEASURE: importing_first(_run_measurement),
}
