"""What a stage reads: models and texts, found by its locations and taken as its inputs say.

It knows neither what the stage makes of them nor a cluster.
"""

from collections.abc import Mapping
from typing import Any

from orchestrator.execution.stage_task import RankContext
from orchestrator.scratch import scratch_folder
from orchestrator.stages.stage_specs import StageSpec
from orchestrator.stages.timings import Phase
from orchestrator.store.store import Store
from trsp.architecture.families import check_supported, layer_count, needs_bos
from trsp.config import CalibrationSettings, EngineSettings, TextSource


def _precision(spec: StageSpec) -> Any:
    """The precision to load weights in; ``auto`` where the stage's inputs leave it open."""
    return spec.inputs["precision"] or "auto"


def load_for_training(context: RankContext) -> tuple[Any, Any]:
    """Load the original model, as ZeRO-3 partitions where no rank is to hold all of it.

    Returns the model and its tokenizer.
    """
    layout = context.task.layout
    whole = layout.engine.zero_stage < 3 or (
        layout.ranks == 1 and layout.engine.offload_weights == "none"
    )
    return load_original(context.task.spec, None if whole else layout.engine)


def load_original(spec: StageSpec, sharded: EngineSettings | None = None) -> tuple[Any, Any]:
    """Load the original model and its tokenizer.

    ``sharded`` is the engine for which the model is spread over the ranks; with None, this process
    gets all of it.
    """
    from trsp.checkpoints.checkpoint import load_model, load_tokenizer

    source, revision = spec.locations["model"]["source"], spec.locations["model"]["revision"]
    precision = _precision(spec)
    if sharded is None:
        model = load_model(source, revision, precision)
    else:
        from trsp.engine.load_sharded import load_sharded  # and DeepSpeed with it

        model = load_sharded(source, revision, precision, sharded)
    return model, load_tokenizer(source, revision)


def original_layer_count(spec: StageSpec) -> int:
    """Return the number of layers of the original model, by its config: no weights are read."""
    from trsp.checkpoints.model_source import read_config

    source = spec.locations["model"]
    config = read_config(source["source"], source["revision"])
    check_supported(config)
    return layer_count(config)


def load_input_model(spec: StageSpec, store: Store) -> tuple[Any, Any]:
    """Load the model and tokenizer that another stage left, or the original where none is read."""
    from trsp.checkpoints.checkpoint import load_model, load_tokenizer

    if not spec.reads:
        return load_original(spec)
    with store.stages.local_files(spec.reads[0]) as folder:
        return load_model(str(folder), None, _precision(spec)), load_tokenizer(str(folder))


def input_model(context: RankContext) -> tuple[Any, Any]:
    """Return the model and tokenizer that the stage reads: of its chain, or loaded."""
    handover = context.handover
    held = handover and handover.take(context.task.spec)
    if held:
        return held
    with context.timings.phase(Phase.LOAD):
        return load_input_model(context.task.spec, context.store)


def as_read_back(tokenizer: Any) -> Any:
    """Return what a reader gets of a tokenizer that is saved with a checkpoint."""
    from trsp.checkpoints.checkpoint import load_tokenizer

    with scratch_folder("tokenizer") as folder:
        tokenizer.save_pretrained(folder)
        return load_tokenizer(str(folder))


def stage_calibration_blocks(spec: StageSpec, tokenizer: Any, config: Mapping[str, Any]) -> Any:
    """Return the stage's blocks of token ids [N, T]; None for a selector that reads no text.

    They are cut for the model that has ``config``.
    """
    from trsp.data.blocks import calibration_blocks

    calibration = spec.inputs["calibration"]
    if calibration is None:
        return None
    fingerprint = calibration["text"]["fingerprint"]
    settings = CalibrationSettings(
        text=TextSource.model_validate(spec.locations["texts"][fingerprint]),
        blocks=calibration["blocks"],
        block_tokens=calibration["block_tokens"],
        cut=calibration["cut"],
        bos=calibration["bos"],
    )
    return calibration_blocks(tokenizer, settings, calibration["seed"], needs_bos=needs_bos(config))
