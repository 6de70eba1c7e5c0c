"""Imports what a stage computes with, before it does: so that its seconds say what that takes.

It is the list of what is worth having imported before a stage comes. Knows no results.
"""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from orchestrator.execution.stage_task import RankContext
from orchestrator.stages.stage_specs import StageKind, StageSpec
from orchestrator.stages.timings import Phase
from trsp.checkpoints.model_source import read_config

_MODEL = "trsp.checkpoints.checkpoint"
_TEXTS = "trsp.data.blocks"
_BENCHMARKS = "trsp.evaluation.lm_eval_model"


def libraries_of(spec: StageSpec) -> tuple[str, ...]:
    """Return the modules of ours, with all that they import, by which a stage is computed."""
    match spec.kind:
        case StageKind.RANKING if spec.inputs["calibration"] is None:
            return ("trsp.selection",)
        case StageKind.RANKING:
            return _MODEL, _TEXTS, "trsp.selection"
        case StageKind.TRANSFER:
            return _MODEL, _TEXTS, "trsp.transfer"
        case StageKind.PRUNE:
            return _MODEL, "trsp.checkpoints.model_card", "trsp.surgery"
        case StageKind.MEASURE:
            return _MODEL, "trsp.evaluation.measure"
        case _:
            benchmarks = spec.inputs["evaluation"]["benchmarks"]
            return _MODEL, "trsp.evaluation.items", *((_BENCHMARKS,) if benchmarks else ())


def import_libraries(spec: StageSpec) -> None:
    """Import them, and the class of the stage's model where its config lies on this machine."""
    names = libraries_of(spec)
    for name in names:
        import_module(name)
    source = spec.locations["model"]["source"]
    if _MODEL in names and Path(source).expanduser().is_dir():
        with suppress(OSError, ValueError, KeyError):  # it is said where the model is loaded
            _import_model_class(read_config(source)["model_type"])


def _import_model_class(model_type: str) -> None:
    """Import the module of a model's class, which transformers does not do before it is used."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    _ = MODEL_FOR_CAUSAL_LM_MAPPING[CONFIG_MAPPING[model_type]]


def importing_first(stage: Callable[[RankContext], None]) -> Callable[[RankContext], None]:
    """Return the stage with its libraries imported before, in a phase of their own."""

    def run(context: RankContext) -> None:
        with context.timings.phase(Phase.IMPORTS):
            import_libraries(context.task.spec)
        stage(context)

    return run
