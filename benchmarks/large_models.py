"""What the estimate says of large models on GPUs of 80 GB: the tables of docs/memory.md.

    python benchmarks/memory.py --large

Arithmetic alone: nothing is run and no model is read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.layouts.estimate import USABLE
from orchestrator.layouts.layout import Layout
from orchestrator.layouts.peak import peak
from orchestrator.layouts.workload import Trains, Work
from orchestrator.stages.stage_specs import StageKind
from trsp.architecture.shape import ModelShape, model_shape
from trsp.config import EngineSettings, LoraSettings

GPU_BYTES = 80e9
BLOCK_TOKENS = 2048
BLOCKS_PER_STEP = 16


@dataclass(frozen=True)
class Model:
    """A model of one table: its name, its config.json, and the numbers of GPUs to show."""

    name: str
    config: Mapping[str, Any]
    gpus: tuple[int, ...]


_LLAMA = {"model_type": "llama", "vocab_size": 32000, "dtype": "bfloat16"}
MODELS = (
    Model(
        "7B",
        _LLAMA
        | {
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        (1, 2, 4, 8),
    ),
    Model(
        "13B",
        _LLAMA
        | {
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
        },
        (1, 2, 4, 8),
    ),
    Model(
        "70B",
        _LLAMA
        | {
            "hidden_size": 8192,
            "intermediate_size": 28672,
            "num_hidden_layers": 80,
            "num_attention_heads": 64,
            "num_key_value_heads": 8,
            "vocab_size": 128256,
        },
        (4, 8, 16, 32),
    ),
)


def tables() -> Iterator[str]:
    """Yield the lines of one Markdown table per model.

    A cell has GB per GPU, and of the host where something is offloaded; what a GPU holds is bold.
    """
    for model in MODELS:
        yield from _table(model)


def _table(model: Model) -> Iterator[str]:
    shape = model_shape(model.config)
    yield f"\n**{model.name}** ({shape.params / 1e9:.2f}B parameters)\n"
    heads = ["1 GPU" if number == 1 else f"{number} GPUs" for number in model.gpus]
    yield f"| stage | settings | {' | '.join(heads)} |"
    yield f"|---|---|{'---:|' * len(heads)}"
    for stage, settings, engine in _rows():
        lora = LoraSettings() if stage == "lora" else None
        trains = Trains.WEIGHTS if stage == "transfer" else Trains.ADAPTERS
        work = Work(StageKind.TRANSFER, trains, BLOCK_TOKENS, BLOCKS_PER_STEP, lora=lora)
        layouts = [Layout(number, gpus=1, engine=engine) for number in model.gpus]
        cells = [_cell(shape, work, layout) for layout in layouts]
        yield f"| {stage} | {settings} | {' | '.join(cells)} |"


def _rows() -> Iterator[tuple[str, str, EngineSettings]]:
    """Yield the stage, the settings in words and the engine of every row."""
    plain: dict[str, Any] = {"activation_checkpointing": True}
    zero3: dict[str, Any] = {"zero_stage": 3, **plain}
    yield "gates", "ZeRO 0", EngineSettings(zero_stage=0, **plain)
    yield "gates", "ZeRO 3", EngineSettings(**zero3)
    yield "lora", "ZeRO 3", EngineSettings(**zero3)
    for stage in (1, 2, 3):
        yield "transfer", f"ZeRO {stage}", EngineSettings(zero_stage=stage, **plain)
    yield "transfer", "ZeRO 3, activations kept", EngineSettings(zero_stage=3)
    yield "transfer", "ZeRO 3, micro-batch 4", EngineSettings(micro_batch=4, **zero3)
    optimizer: dict[str, Any] = {"offload_optimizer": "cpu", **zero3}
    yield "transfer", "ZeRO 3, optimizer on host", EngineSettings(**optimizer)
    yield "transfer", "ZeRO 3, all on host", EngineSettings(offload_weights="cpu", **optimizer)


def _cell(shape: ModelShape, work: Work, layout: Layout) -> str:
    estimate = peak(shape, work, layout)
    assert estimate.gpu is not None
    text = f"{estimate.gpu.total / 1e9:.0f}"
    if estimate.gpu.total <= USABLE * GPU_BYTES:
        text = f"**{text}**"
    if layout.engine.offload_optimizer != "none":
        text += f" + {estimate.host.total / 1e9:.0f}"
    return text
