"""What each kind of stage does: read from the store, compute with trsp, commit.

It knows no cluster and no MLflow. Everything that may change a result comes from ``spec.inputs``;
``spec.locations`` only says where that content lies. A stage of several ranks runs here once on
each rank, all with the same task; rank 0 alone publishes and commits.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.execution.evaluation_items import evaluate_items
from orchestrator.execution.libraries import importing_first
from orchestrator.execution.stage_inputs import (
    as_read_back,
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
from trsp.config import (
    MeasurementSettings,
    Selector,
    Transfer,
)
from trsp.records import RoundRecord

_SELECTOR: TypeAdapter[Any] = TypeAdapter(Selector)
_TRANSFER: TypeAdapter[Any] = TypeAdapter(Transfer)


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


def _run_transfer(context: RankContext) -> None:
    """Train the whole model so that the ranked layers can go, and commit its weights.

    In a chain whose next stage makes a checkpoint of them, that stage commits both.
    """
    from trsp.distributed.zero3_parameters import is_sharded

    model, tokenizer, record = _train(context)
    task, handover = context.task, context.handover
    if handover is None or is_sharded(model):
        _keep_transfer(context, model, tokenizer, record)
        return
    if task.keep_weights or not task.is_read_next:
        _keep_transfer(context, model, tokenizer, record)
    else:
        keep = partial(_keep_transfer, context, model, tokenizer, record)
        handover.hold(task.ticket, task.spec, record, versions(), context.times(), keep)
    handover.give(task.spec.key, model, as_read_back(tokenizer))


def _train(context: RankContext) -> tuple[Any, Any, dict[str, Any]]:
    """Return the trained model, its tokenizer, and the record of its training."""
    from trsp.distributed.device import seed_everything
    from trsp.transfer import transfer

    task, spec, inputs = context.task, context.task.spec, context.task.spec.inputs
    seed_everything(inputs["seed"])
    with context.timings.phase(Phase.LOAD):
        model, tokenizer = load_for_training(context)
        blocks = stage_calibration_blocks(spec, tokenizer, model.config.to_dict())
    settings = _TRANSFER.validate_python(inputs["transfer"])
    with context.training() as progress:
        record = transfer(
            model,
            inputs["layers"],
            blocks,
            settings,
            inputs["drift"],
            task.layout.engine,
            progress=progress,
            lr_scale=task.lr_scale,
        )
    return model, tokenizer, record.model_dump(mode="json")


def _keep_transfer(
    context: RankContext, model: Any, tokenizer: Any, record: Mapping[str, Any]
) -> None:
    """Write the whole weights of stage two and commit them. On all ranks, of which one writes."""
    from trsp.checkpoints.checkpoint import save_checkpoint

    with _artifact_folder(context) as folder:
        with context.timings.phase(Phase.SAVE):
            save_checkpoint(model, tokenizer, folder, card="", removed_layers=())
        if context.leads:
            context.commit(record, versions(), folder)


@contextmanager
def _artifact_folder(context: RankContext) -> Iterator[Path]:
    """Where the leading rank writes the stage's artifacts until they are committed.

    The other ranks, which help to gather weights and write none, get the name of nothing.
    """
    if not context.leads:
        yield Path(os.devnull)
        return
    with context.staging() as folder:
        yield folder


def _run_pruning(context: RankContext) -> None:
    """Delete the layers, after proving on random tokens that deletion equals bypassing them."""
    from trsp.checkpoints.checkpoint import load_tokenizer, save_checkpoint
    from trsp.surgery import remove_layers_verified, undone_after_error

    spec, started = context.task.spec, time.monotonic()
    layers = spec.inputs["layers"]
    model, tokenizer = input_model(context)
    card = _first_model_card(spec, model)
    with context.staging() as folder, undone_after_error(model):
        remove_layers_verified(model, layers)
        with context.timings.phase(Phase.SAVE):
            record = save_checkpoint(model, tokenizer, folder, card=card, removed_layers=layers)
        record = record.model_copy(update={"seconds": time.monotonic() - started})
        if context.handover is not None:
            tokenizer = load_tokenizer(str(folder))
        context.commit(record.model_dump(mode="json"), versions(), folder)
    if context.handover is not None:
        context.handover.give(spec.key, model, tokenizer)


def _first_model_card(spec: StageSpec, model: Any) -> str:
    """The text of a model card; the driver replaces it once settings and scores are known."""
    from trsp.architecture.decoders import decoder_layers
    from trsp.checkpoints.model_card import model_card

    source = spec.locations["model"]
    return model_card(
        name=f"{source['name']} pruned",
        source=source["source"],
        revision=source["revision"] or spec.inputs["model"],
        layers=len(decoder_layers(model)),
        removed_layers=spec.inputs["layers"],
        settings={"stage": spec.key},
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
    record = measure(model, settings, spec.inputs["hardware"], context.task.device_wait_s)
    context.commit(record.model_dump(mode="json"), versions())


# What each kind of stage does in a process of it: RankContext -> None; it raises what goes wrong.
STAGES: Mapping[StageKind, Callable[[RankContext], None]] = {
    StageKind.DENSE: importing_first(_run_dense),
    StageKind.RANKING: importing_first(_run_ranking),
    StageKind.TRANSFER: importing_first(_run_transfer),
    StageKind.PRUNE: importing_first(_run_pruning),
    StageKind.EVALUATE: importing_first(_run_evaluation),
    StageKind.MEASURE: importing_first(_run_measurement),
}
