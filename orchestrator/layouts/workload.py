"""What a stage computes, as far as memory goes, read off its inputs. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.config import LoraSettings, Precision


class Trains(StrEnum):
    """What of a model a stage trains, which says what ZeRO and offload have to share out."""

    WEIGHTS = "weights"
    ADAPTERS = "beside"  # gates or adapters beside frozen weights, which have no gradients and no optimizer states
    NOTHING = "nothing"  # one process, without an engine


BENCHMARK_TOKENS = 1024  # of one item: few are longer


@dataclass(frozen=True)
class Work:
    """What a stage computes, as far as memory goes. ``tokens``: of a row; ``rows``: of the effective batch, or at once."""

    kind: StageKind
    trains: Trains
    tokens: int
    rows: int = 1
    precision: Precision = "auto"
    lora: LoraSettings | None = None
    cached_tokens: int = 0  # kept by a generation, over all its rows


def work_of(spec: StageSpec) -> Work:
    """Read off the stage's inputs."""
    precision: Precision = spec.inputs.get("precision") or "auto"
    match spec.kind:
        case StageKind.RANKING:
            return _ranking(spec, precision)
        case StageKind.TRANSFER:
            transfer = spec.inputs["transfer"]
            lora = LoraSettings.model_validate(transfer["lora"]) if transfer.get("lora") else None
            trains = Trains.ADAPTERS if lora else Trains.WEIGHTS
            return Work(
                spec.kind, trains, _block_tokens(spec), transfer["blocks_per_step"], precision, lora
            )
        case StageKind.PRUNE:
            return Work(spec.kind, Trains.NOTHING, 32, precision=precision)
        case StageKind.MEASURE:
            return _measurement(spec, precision)
        case _:
            return _evaluation(spec, precision)


def _ranking(spec: StageSpec, precision: Precision) -> Work:
    selector = spec.inputs["selector"]
    if selector["name"] != "gates":
        return Work(spec.kind, Trains.NOTHING, _block_tokens(spec), precision=precision)
    trains = Trains.WEIGHTS if selector["train_weights"] else Trains.ADAPTERS
    return Work(spec.kind, trains, _block_tokens(spec), selector["blocks_per_step"], precision)


def _block_tokens(spec: StageSpec) -> int:
    calibration = spec.inputs["calibration"]
    return int(calibration["block_tokens"]) if calibration else 0


def _measurement(spec: StageSpec, precision: Precision) -> Work:
    asked = spec.inputs["measurement"]
    cached = asked["generate_batch"] * (
        asked["generate_prompt_tokens"] + asked["generate_new_tokens"]
    )
    tokens, rows = asked["prompt_tokens"], asked["prompt_batch"]
    return Work(spec.kind, Trains.NOTHING, tokens, rows, precision, cached_tokens=cached)


def _evaluation(spec: StageSpec, precision: Precision) -> Work:
    """The largest batch: of windows, or of a benchmark's items."""
    asked: Any = spec.locations["evaluation"]
    batches = [(each["window_tokens"], asked["batch_size"]) for each in asked["perplexity"]]
    if asked["benchmarks"]:
        batches.append((BENCHMARK_TOKENS, asked["benchmarks"]["batch_size"]))
    tokens, rows = max(batches, key=lambda batch: batch[0] * batch[1], default=(0, 1))
    return Work(spec.kind, Trains.NOTHING, tokens, rows, precision)
