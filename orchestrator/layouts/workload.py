"""What a stage computes, as far as memory goes, read off its inputs, and how much of it learns.

Counts of parameters and bytes of one number; what is in memory when is for ``training_memory``.
Pure.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from orchestrator.layouts.layout import Layout
from orchestrator.stages.stage_specs import StageKind, StageSpec
from trsp.architecture.shape import ModelShape
from trsp.config import LoraSettings, Precision
from trsp.engine.deepspeed_config import effective_stage, sums_in_fp32

FP32_BYTES = 4
BENCHMARK_TOKENS = 1024  # of one item: few are longer
_PROOF_TOKENS = 32  # random ones, on which deletion is proved to equal bypassing


class Trains(StrEnum):
    """What of a model a stage trains, which says what ZeRO and offload have to share out.

    ADAPTERS are gates or LoRA's adapters beside frozen weights, which have no gradients and no
    optimizer states. NOTHING is a single process without an engine.
    """

    WEIGHTS = "weights"
    ADAPTERS = "beside"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Work:
    """What a stage computes, as far as memory goes. The names of the fields are part of a key.

    ``tokens``: of one row. ``rows``: of the effective batch of a training, or of what is computed
    at once. ``cached_tokens``: kept by a generation, over all its rows. ``bypassed``: the layers
    that a training leaves out from its first step to its last, which neither compute nor learn.
    """

    kind: StageKind
    trains: Trains
    tokens: int
    rows: int = 1
    precision: Precision = "auto"
    lora: LoraSettings | None = None
    cached_tokens: int = 0
    bypassed: int = 0

    @property
    def is_training(self) -> bool:
        """Whether the stage trains anything: it then has an engine, and may be a gang."""
        return self.trains is not Trains.NOTHING

    @property
    def reads_weights(self) -> bool:
        """Whether the stage loads a model: an order that looks at nothing is made without one."""
        return self.kind is not StageKind.RANKING or self.tokens > 0

    @property
    def is_for_cpus(self) -> bool:
        """Whether a GPU would save the stage no time.

        Deleting layers is reading and writing, and a proof over a few tokens.
        """
        return self.kind is StageKind.PRUNE or not self.reads_weights


def work_of(spec: StageSpec) -> Work:
    """Return what the stage computes, read off its inputs."""
    precision: Precision = spec.inputs.get("precision") or "auto"
    match spec.kind:
        case StageKind.RANKING:
            return _ranking(spec, precision)
        case StageKind.TRANSFER:
            return _transfer(spec, precision)
        case StageKind.PRUNE:
            return Work(spec.kind, Trains.NOTHING, _PROOF_TOKENS, precision=precision)
        case StageKind.MEASURE:
            return _measurement(spec, precision)
        case _:
            return _evaluation(spec, precision)


def _ranking(spec: StageSpec, precision: Precision) -> Work:
    """Return the work of a ranking: a training of gates, or forward passes over blocks."""
    selector, tokens = spec.inputs["selector"], _block_tokens(spec)
    if selector["name"] != "gates":
        return Work(spec.kind, Trains.NOTHING, tokens, precision=precision)
    trains = Trains.WEIGHTS if selector["train_weights"] else Trains.ADAPTERS
    return Work(spec.kind, trains, tokens, selector["blocks_per_step"], precision)


def _transfer(spec: StageSpec, precision: Precision) -> Work:
    """Return the work of a training of stage two, of all weights or of LoRA's adapters."""
    settings, tokens = spec.inputs["transfer"], _block_tokens(spec)
    lora = LoraSettings.model_validate(settings["lora"]) if settings.get("lora") else None
    trains = Trains.ADAPTERS if lora else Trains.WEIGHTS
    bypassed = len(spec.inputs["layers"]) if settings["name"] == "heal" else 0
    rows = settings["blocks_per_step"]
    return Work(spec.kind, trains, tokens, rows, precision, lora, bypassed=bypassed)


def _block_tokens(spec: StageSpec) -> int:
    calibration = spec.inputs["calibration"]
    return int(calibration["block_tokens"]) if calibration else 0


def _measurement(spec: StageSpec, precision: Precision) -> Work:
    """Return the work of a measurement of speed: the prompts at once, and the cached tokens."""
    protocol = spec.inputs["measurement"]
    generated = protocol["generate_prompt_tokens"] + protocol["generate_new_tokens"]
    cached = protocol["generate_batch"] * generated
    tokens, rows = protocol["prompt_tokens"], protocol["prompt_batch"]
    return Work(spec.kind, Trains.NOTHING, tokens, rows, precision, cached_tokens=cached)


def _evaluation(spec: StageSpec, precision: Precision) -> Work:
    """Return the work of an evaluation's largest batch: of windows, or of a benchmark's items."""
    evaluation: Any = spec.locations["evaluation"]
    texts = evaluation["perplexity"]
    batches = [(text["window_tokens"], _rows(evaluation["batch_size"])) for text in texts]
    if evaluation["benchmarks"]:
        batches.append((BENCHMARK_TOKENS, _rows(evaluation["benchmarks"]["batch_size"])))
    tokens, rows = max(batches, key=lambda batch: batch[0] * batch[1], default=(0, 1))
    return Work(spec.kind, Trains.NOTHING, tokens, rows, precision)


def _rows(batch_size: int | Literal["auto"]) -> int:
    """Return the rows of a batch; of ``auto`` one: more are taken only where they fit."""
    return 1 if batch_size == "auto" else batch_size


# --- how much of it learns ----------------------------------------------------


@dataclass(frozen=True)
class TrainedParts:
    """What learns of a model, on how many ranks, in how many micro-batches.

    Parameters and numbers are counted; names that end in ``_bytes`` give bytes.
    """

    shape: ModelShape
    work: Work
    layout: Layout

    @property
    def weight_bytes(self) -> int:
        return self.shape.weight_bytes(self.work.precision)

    @property
    def trained(self) -> int:
        """The parameters that learn under the engine; gates do so beside it.

        Those of layers that are left out do not learn.
        """
        if self.work.lora:
            return self.adapters * self.layers // self.shape.layers
        if self.work.trains is not Trains.WEIGHTS:
            return 0
        return self.shape.params - self.work.bypassed * self.shape.layer_params

    @property
    def adapters(self) -> int:
        """The parameters of all layers' adapters."""
        lora = self.work.lora
        return self.shape.lora_params(lora.rank, lora.target_modules) if lora else 0

    @property
    def all_params(self) -> int:
        """All parameters of the model, its adapters included."""
        return self.shape.params + self.adapters

    @property
    def layers(self) -> int:
        """The number of layers that compute."""
        return self.shape.layers - self.work.bypassed

    @property
    def zero_stage(self) -> int:
        return effective_stage(
            self.layout.engine, trains=self.trained > 0, fp32_sums=self.sums_in_fp32
        )

    @property
    def keeps_optimizer(self) -> bool:
        """Whether optimizer states and gradients stay on the rank's own device."""
        return self.layout.engine.offload_optimizer == "none"

    def share(self, numbers: int) -> int:
        """Return one rank's part of what all ranks divide among them, rounded up."""
        return -(-numbers // self.layout.ranks)

    @property
    def sum_bytes(self) -> int:
        """The bytes of one number of a gradient while micro-batches are added up, and after."""
        return FP32_BYTES if self.sums_in_fp32 else self.weight_bytes

    @property
    def gradients_share_bytes(self) -> int:
        """The bytes of one rank's share of all gradients."""
        return self.share(self.trained) * self.sum_bytes

    @property
    def rows_at_once(self) -> int:
        return min(self.layout.engine.micro_batch, self.share(self.work.rows))

    @property
    def accumulates(self) -> bool:
        """Whether a step takes several micro-batches."""
        return self.share(self.work.rows) > self.rows_at_once

    @property
    def sums_in_fp32(self) -> bool:
        """Whether gradients of bf16 weights are added up in fp32."""
        micro_steps = -(-self.share(self.work.rows) // self.rows_at_once)
        bf16 = self.weight_bytes < FP32_BYTES
        return sums_in_fp32(self.layout.engine, bf16=bf16, micro_steps=micro_steps)

    @property
    def sums_all_gradients(self) -> bool:
        """Whether every rank adds up all gradients in one fp32 tensor: ZeRO-1 does."""
        return self.sums_in_fp32 and self.zero_stage == 1 and self.keeps_optimizer
