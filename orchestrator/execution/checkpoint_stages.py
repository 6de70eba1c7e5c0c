"""The stages that make a checkpoint: stage two, and the deletion of the layers.

In a chain the model goes from one to the other in memory (orchestrator/execution/handover.py).
"""

import gc
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.execution.stage_inputs import (
    as_read_back,
    input_model,
    load_for_training,
    stage_calibration_blocks,
)
from orchestrator.execution.stage_task import RankContext
from orchestrator.execution.versions import versions
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.stages.timings import Phase
from trsp.config import Transfer

_TRANSFER: TypeAdapter[Any] = TypeAdapter(Transfer)


def run_transfer(context: RankContext) -> None:
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
    gc.collect()  # engines refer to themselves, and hold several times the model's memory
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


def run_pruning(context: RankContext) -> None:
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
