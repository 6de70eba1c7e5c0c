"""What each kind of stage does: read from the store, compute with trsp, commit. Knows no cluster and no MLflow.

Everything that may change a result comes from ``spec.inputs``; ``spec.locations`` only says where that content lies.
A stage of several ranks runs here once a rank, all with the same task; rank 0 alone publishes and commits.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from orchestrator.execution.stage_task import RankContext
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.store.store import Store
from trsp.config import (
    CalibrationSettings,
    EngineSettings,
    EvaluationSettings,
    MeasurementSettings,
    Selector,
    TextSource,
    Transfer,
)
from trsp.records import EvaluationRecord

_SELECTOR: TypeAdapter[Any] = TypeAdapter(Selector)
_TRANSFER: TypeAdapter[Any] = TypeAdapter(Transfer)


# --- what stages read ---------------------------------------------------------------------------------------------------


def _precision(spec: StageSpec) -> Any:
    return spec.inputs["precision"] or "auto"


def _load_for_training(rank: RankContext) -> tuple[Any, Any]:
    """The original model and its tokenizer: as ZeRO-3 partitions where no rank is to hold all of it."""
    layout = rank.task.layout
    whole = layout.engine.zero_stage < 3 or (
        layout.ranks == 1 and layout.engine.offload_weights == "none"
    )
    return _load_source(rank.task.spec, None if whole else layout.engine)


def _load_source(spec: StageSpec, sharded: EngineSettings | None = None) -> tuple[Any, Any]:
    """The original model and its tokenizer. ``sharded``: the engine for which the model is spread over the ranks."""
    from trsp.checkpoints.checkpoint import load_model, load_tokenizer

    source, revision = spec.locations["model"]["source"], spec.locations["model"]["revision"]
    if sharded is None:
        return load_model(source, revision, _precision(spec)), load_tokenizer(source, revision)
    from trsp.engine.load_sharded import load_sharded  # and DeepSpeed with it

    return load_sharded(source, revision, _precision(spec), sharded), load_tokenizer(
        source, revision
    )


def _load(spec: StageSpec, store: Store) -> tuple[Any, Any]:
    """Model and tokenizer that the stage reads: another stage's artifacts, or the original where it reads none."""
    from trsp.checkpoints.checkpoint import load_model, load_tokenizer

    if not spec.reads:
        return _load_source(spec)
    with store.stages.local_files(spec.reads[0]) as folder:
        return load_model(str(folder), None, _precision(spec)), load_tokenizer(str(folder))


def _calibration(spec: StageSpec, tokenizer: Any) -> Any:
    """Blocks [N, T]; None for a selector that reads no text."""
    from trsp.data.blocks import calibration_blocks

    asked = spec.inputs["calibration"]
    if asked is None:
        return None
    source = TextSource.model_validate(spec.locations["texts"][asked["text"]["fingerprint"]])
    settings = CalibrationSettings(
        text=source, blocks=asked["blocks"], block_tokens=asked["block_tokens"], bos=asked["bos"]
    )
    return calibration_blocks(tokenizer, settings, asked["seed"])


# --- the stages ---------------------------------------------------------------------------------------------------------


def _rank(rank: RankContext) -> None:
    """Publishes round by round; there is no other result, for a ranking is never finished, only deep enough."""
    from trsp.distributed.device import seed_everything
    from trsp.selection import rank_layers

    task, spec, store = rank.task, rank.task.spec, rank.store
    done = store.rankings.rounds(spec.key)
    if rank.leads:
        store.stages.write_spec(spec)
    seed_everything(spec.inputs["seed"] or 0)
    model, tokenizer = _load_for_training(rank)
    with rank.training() as progress:
        rounds = rank_layers(
            model,
            _calibration(spec, tokenizer),
            _SELECTOR.validate_python(spec.inputs["selector"]),
            depth=spec.depth,
            gate_l1=spec.inputs["gate_l1"] or 0.0,
            seed=spec.inputs["seed"] or 0,
            done=done,
            engine=task.layout.engine,
            progress=progress,
            lr_scale=task.lr_scale,
        )
        for record in rounds:
            if rank.leads:
                store.rankings.publish(spec.key, record)
    if rank.leads:
        store.stages.drop_snapshots(spec.key)


def _transfer(rank: RankContext) -> None:
    from trsp.checkpoints.checkpoint import save_checkpoint
    from trsp.distributed.device import seed_everything
    from trsp.transfer import transfer

    task, spec, inputs = rank.task, rank.task.spec, rank.task.spec.inputs
    seed_everything(inputs["seed"])
    model, tokenizer = _load_for_training(rank)
    settings = _TRANSFER.validate_python(inputs["transfer"])
    blocks = _calibration(spec, tokenizer)
    with rank.training() as progress:
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
    with _files(rank) as folder:
        save_checkpoint(model, tokenizer, folder, card="", removed_layers=())
        if rank.leads:
            rank.store.stages.commit(spec, record.model_dump(mode="json"), folder)


@contextmanager
def _files(rank: RankContext) -> Iterator[Path]:
    """Where the leading rank writes artifacts; the others, who help to gather them, get a name of nothing."""
    if not rank.leads:
        yield Path(os.devnull)
        return
    with rank.store.stages.staging(rank.task.spec.key) as folder:
        yield folder


def _prune(rank: RankContext) -> None:
    """Deletes the layers, after proving on random tokens that deletion equals bypassing them."""
    from trsp.checkpoints.checkpoint import save_checkpoint
    from trsp.surgery import remove_layers_verified

    spec, store, started = rank.task.spec, rank.store, time.monotonic()
    layers = spec.inputs["layers"]
    model, tokenizer = _load(spec, store)
    card = _card(spec, model)
    remove_layers_verified(model, layers)
    with store.stages.staging(spec.key) as folder:
        record = save_checkpoint(model, tokenizer, folder, card=card, removed_layers=layers)
        record = record.model_copy(update={"seconds": time.monotonic() - started})
        store.stages.commit(spec, record.model_dump(mode="json"), folder)


def _card(spec: StageSpec, model: Any) -> str:
    """A first model card; the driver replaces it by one with settings and scores once they are known."""
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


def _evaluate(rank: RankContext) -> None:
    spec = rank.task.spec
    model, tokenizer = _load(spec, rank.store)
    record = _scores(spec, model, tokenizer)
    rank.store.stages.commit(spec, record.model_dump(mode="json"))


def _dense(rank: RankContext) -> None:
    """The unpruned model's scores and size, by the same code as a checkpoint's."""
    from trsp.checkpoints.checkpoint import dense_record

    spec, started = rank.task.spec, time.monotonic()
    model, tokenizer = _load_source(spec)
    evaluation = _scores(spec, model, tokenizer)
    record = {
        "checkpoint": dense_record(model).model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "seconds": time.monotonic() - started,
    }
    rank.store.stages.commit(spec, record)


def _scores(spec: StageSpec, model: Any, tokenizer: Any) -> EvaluationRecord:
    from trsp.evaluation.evaluate import evaluate

    return evaluate(
        model, tokenizer, EvaluationSettings.model_validate(spec.locations["evaluation"])
    )


def _measure(rank: RankContext) -> None:
    from trsp.evaluation.measure import measure

    spec = rank.task.spec
    settings = MeasurementSettings.model_validate(spec.inputs["measurement"])
    model, _ = _load(spec, rank.store)
    record = measure(model, settings, spec.inputs["hardware"])
    rank.store.stages.commit(spec, record.model_dump(mode="json"))


STAGES: Mapping[StageKind, Callable[[RankContext], None]] = {
    StageKind.DENSE: _dense,
    StageKind.RANKING: _rank,
    StageKind.TRANSFER: _transfer,
    StageKind.PRUNE: _prune,
    StageKind.EVALUATE: _evaluate,
    StageKind.MEASURE: _measure,
}
