"""What runs in a stage's own process: read from the store, compute with trsp, commit. Knows no cluster and no MLflow.

Everything that may change a result comes from ``spec.inputs``; ``spec.locations`` only says where that content lies.
"""

import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from orchestrator.failures import Failure, FailureKind
from orchestrator.layout import Layout
from orchestrator.stages import Kind, StageSpec
from orchestrator.store import Store
from trsp.config import (
    CalibrationSettings,
    EvaluationSettings,
    MeasurementSettings,
    Selector,
    TextSource,
    Transfer,
)
from trsp.errors import TrspError
from trsp.records import EvaluationRecord

LOG_TAIL = 20_000  # characters of a failed stage's output that are kept
_SELECTOR: TypeAdapter[Any] = TypeAdapter(Selector)
_TRANSFER: TypeAdapter[Any] = TypeAdapter(Transfer)


@dataclass(frozen=True)
class StageTask:
    """A stage and where to compute it: all of it travels to the worker."""

    spec: StageSpec
    store: str
    layout: Layout = field(default_factory=Layout)
    attempt: str = "0"  # unique among the attempts of this stage: names what it leaves behind until it commits
    rate_scale: float = 1.0  # below 1 after a run that diverged: a factor on every learning rate
    snapshot_every_s: float = 600.0
    snapshot_every_steps: int | None = None
    hang_timeout_s: float = 1800.0


def run_task(task: StageTask) -> Failure | None:
    """Run one stage to its commit. An error becomes a recorded failure, with the end of what the stage printed."""
    store = Store(task.store)
    with _captured_output() as log:
        try:
            _STAGES[task.spec.kind](task, store)
            return None
        except Exception as error:
            traceback.print_exc()
            failure = Failure(
                error=type(error).__name__,
                message=str(error).strip() or type(error).__name__,
                kind=FailureKind.BAD_INPUT if isinstance(error, TrspError | ValueError | TypeError) else FailureKind.UNKNOWN,
                details=traceback.format_exc()[-LOG_TAIL:],
                when=time.time(),
            )
    store.record_failure(task.spec.key, failure, log.getvalue())
    return failure


@contextmanager
def _captured_output() -> Iterator[io.StringIO]:
    """Everything written to file descriptors 1 and 2, by any library in any language; the end of it, in the StringIO."""
    end = io.StringIO()
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        sys.stderr.flush()
        saved = [os.dup(1), os.dup(2)]
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield end
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, target in zip(saved, (1, 2), strict=True):
                os.dup2(descriptor, target)
                os.close(descriptor)
            log.seek(max(0, log.tell() - LOG_TAIL))
            end.write(log.read().decode(errors="replace"))


# --- what stages read ---------------------------------------------------------------------------------------------------


def _precision(spec: StageSpec) -> Any:
    return spec.inputs["precision"] or "auto"


def _load_source(spec: StageSpec) -> tuple[Any, Any]:
    """The original model and its tokenizer."""
    from trsp.checkpoint import load_model, load_tokenizer

    model = spec.locations["model"]
    return (
        load_model(model["source"], model["revision"], _precision(spec)),
        load_tokenizer(model["source"], model["revision"]),
    )


def _load(spec: StageSpec, store: Store) -> tuple[Any, Any]:
    """Model and tokenizer that the stage reads: another stage's artifacts, or the original where it reads none."""
    from trsp.checkpoint import load_model, load_tokenizer

    if not spec.reads:
        return _load_source(spec)
    with store.local_files(spec.reads[0]) as folder:
        return load_model(str(folder), None, _precision(spec)), load_tokenizer(str(folder))


def _calibration(spec: StageSpec, tokenizer: Any) -> Any:
    """Blocks [N, T]; None for a selector that reads no text."""
    from trsp.data import calibration_blocks

    asked = spec.inputs["calibration"]
    if asked is None:
        return None
    source = TextSource.model_validate(spec.locations["texts"][asked["text"]["fingerprint"]])
    settings = CalibrationSettings(text=source, blocks=asked["blocks"], block_tokens=asked["block_tokens"], bos=asked["bos"])
    return calibration_blocks(tokenizer, settings, asked["seed"])


# --- the stages ---------------------------------------------------------------------------------------------------------


def _rank(task: StageTask, store: Store) -> None:
    """Publishes round by round; there is no other result, for a ranking is never finished, only deep enough."""
    from trsp.device import seed_everything
    from trsp.selection import rank

    spec = task.spec
    store.write_spec(spec)
    seed_everything(spec.inputs["seed"] or 0)
    model, tokenizer = _load_source(spec)
    rounds = rank(
        model,
        _calibration(spec, tokenizer),
        _SELECTOR.validate_python(spec.inputs["selector"]),
        depth=spec.depth,
        gate_l1=spec.inputs["gate_l1"] or 0.0,
        seed=spec.inputs["seed"] or 0,
        done=store.rounds(spec.key),
        engine=task.layout.engine,
    )
    for record in rounds:
        store.publish_round(spec.key, record)


def _transfer(task: StageTask, store: Store) -> None:
    from trsp.checkpoint import save_checkpoint
    from trsp.device import seed_everything
    from trsp.transfer import transfer

    spec, inputs = task.spec, task.spec.inputs
    seed_everything(inputs["seed"])
    model, tokenizer = _load_source(spec)
    settings = _TRANSFER.validate_python(inputs["transfer"])
    blocks = _calibration(spec, tokenizer)
    record = transfer(model, inputs["layers"], blocks, settings, inputs["drift"], task.layout.engine)
    with store.staging(spec.key) as folder:
        save_checkpoint(model, tokenizer, folder, card="", removed_layers=())
        store.commit(spec, record.model_dump(mode="json"), folder)


def _prune(task: StageTask, store: Store) -> None:
    """Deletes the layers, after proving on random tokens that deletion equals bypassing them."""
    from trsp.checkpoint import save_checkpoint
    from trsp.surgery import remove_layers_verified

    spec, started = task.spec, time.monotonic()
    layers = spec.inputs["layers"]
    model, tokenizer = _load(spec, store)
    card = _card(spec, model)
    remove_layers_verified(model, layers)
    with store.staging(spec.key) as folder:
        record = save_checkpoint(model, tokenizer, folder, card=card, removed_layers=layers)
        record = record.model_copy(update={"seconds": time.monotonic() - started})
        store.commit(spec, record.model_dump(mode="json"), folder)


def _card(spec: StageSpec, model: Any) -> str:
    """A first model card; the driver replaces it by one with settings and scores once they are known."""
    from trsp.card import model_card
    from trsp.decoders import decoder_layers

    source = spec.locations["model"]
    return model_card(
        name=f"{source['name']} pruned",
        source=source["source"],
        revision=source["revision"] or spec.inputs["model"],
        layers=len(decoder_layers(model)),
        removed_layers=spec.inputs["layers"],
        settings={"stage": spec.key},
    )


def _evaluate(task: StageTask, store: Store) -> None:
    model, tokenizer = _load(task.spec, store)
    record = _scores(task, model, tokenizer)
    store.commit(task.spec, record.model_dump(mode="json"))


def _dense(task: StageTask, store: Store) -> None:
    """The unpruned model's scores and size, by the same code as a checkpoint's."""
    from trsp.checkpoint import dense_record

    started = time.monotonic()
    model, tokenizer = _load_source(task.spec)
    evaluation = _scores(task, model, tokenizer)
    record = {
        "checkpoint": dense_record(model).model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "seconds": time.monotonic() - started,
    }
    store.commit(task.spec, record)


def _scores(task: StageTask, model: Any, tokenizer: Any) -> EvaluationRecord:
    from trsp.evaluate import evaluate

    return evaluate(model, tokenizer, EvaluationSettings.model_validate(task.spec.locations["evaluation"]))


def _measure(task: StageTask, store: Store) -> None:
    from trsp.measure import measure

    spec = task.spec
    settings = MeasurementSettings.model_validate(spec.inputs["measurement"])
    model, _ = _load(spec, store)
    record = measure(model, settings, spec.inputs["hardware"])
    store.commit(spec, record.model_dump(mode="json"))


_STAGES: Mapping[Kind, Callable[[StageTask, Store], None]] = {
    Kind.DENSE: _dense,
    Kind.RANK: _rank,
    Kind.TRANSFER: _transfer,
    Kind.PRUNE: _prune,
    Kind.EVALUATE: _evaluate,
    Kind.MEASURE: _measure,
}
