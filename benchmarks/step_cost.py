"""What our terms cost: a step of either stage beside the same engine's step without them.

    python benchmarks/step_cost.py [--repeats 15] [--tokens 256] [--dtype fp32 --dtype bf16]

Stage two (drift on a quarter of the layers) is compared with plain fine-tuning; stage one (a gate
on every layer, frozen weights) with forward and backward through the same frozen model, for which
its input embeddings need the gradient. The four kinds of step take turns within one run, so that a
busy machine slows them alike; printed are medians and the median ratio of neighbours. Then come the
activations that are alive between a forward pass and its backward pass, with and without the drift.
Knows no model but its own.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel

from trsp.architecture.decoders import decoder_layers
from trsp.config import DriftSettings, EngineSettings
from trsp.distributed.device import default_device, synchronize
from trsp.engine.engine import Engine
from trsp.engine.gate_optimizer import GateOptimizer
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.gates import Branches, Drift, gated
from trsp.losses import drift_function, gate_l1, lm_loss

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
VOCABULARY = 8000
DRIFT_EVERY = 4  # layers: from the second on, every so many are drift layers
Step = Callable[[Tensor], object]


def llama(dtype: torch.dtype) -> PreTrainedModel:
    """Return a random Llama with 12 layers of width 256: 14 million weights."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=12,
        num_attention_heads=8,
        num_key_value_heads=4,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.to(default_device()).eval()


def tuning_engine(model: PreTrainedModel) -> Engine:
    """Return an engine that trains all weights of ``model``."""
    return Engine(model, EngineSettings(), 1, OptimizerConfig(1e-5, steps=1, constant=True))


def drift_layers(model: PreTrainedModel) -> range:
    return range(1, len(decoder_layers(model)), DRIFT_EVERY)


def plain_step(model: PreTrainedModel) -> Step:
    """Return a step of plain fine-tuning."""
    return tuning_engine(copy.deepcopy(model)).step


def drift_step(model: PreTrainedModel) -> Step:
    """Return a step of stage two at scale 0.5, as in the middle of annealing.

    The branches are measured and scaled.
    """
    model = copy.deepcopy(model)
    engine = tuning_engine(model)
    branches = Branches(model, drift_layers(model), drift_function(DriftSettings()))
    branches.scale = 0.5
    return lambda rows_BT: engine.step(rows_BT, branches.take_drift, 1e-3)


def frozen_step(model: PreTrainedModel) -> Step:
    """Return a forward and a backward pass through frozen weights."""
    model = copy.deepcopy(model).requires_grad_(False)

    def step(rows_BT: Tensor) -> None:
        embedded_BTD = model.get_input_embeddings()(rows_BT).requires_grad_()
        lm_loss(model(inputs_embeds=embedded_BTD, use_cache=False).logits, rows_BT).backward()

    return step


def gates_step(model: PreTrainedModel) -> Step:
    """Return a step of stage one: a gate on every layer, frozen weights."""
    model = copy.deepcopy(model)
    engine, layers = Engine(model, EngineSettings(), 1), range(len(decoder_layers(model)))
    gates = torch.ones(len(layers), device=default_device(), requires_grad=True)
    optimizer = GateOptimizer(gates, learning_rate=1e-2)

    def step(rows_BT: Tensor) -> None:
        with gated(model, gates, layers, "residual"):
            engine.step(rows_BT, lambda: gate_l1(gates, 1.0), 5e-3, optimizer)

    return step


def interleaved(steps: Mapping[str, Step], rows_BT: Tensor, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each kind of step, ``repeats`` of each, taken in turn.

    Two rounds of warm-up come first and are left out.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(repeats + 2):
        for name, step in steps.items():
            synchronize(rows_BT.device)
            started = time.perf_counter()
            step(rows_BT)
            synchronize(rows_BT.device)
            if number >= 2:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], ours: str, theirs: str) -> float:
    """Return the median of the ratios of neighbouring steps of two kinds."""
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def kept_bytes(model: PreTrainedModel, rows_BT: Tensor, drift: Drift | None) -> int:
    """Return the bytes that autograd keeps for the backward pass, weights left out.

    Branches are at scale 0.5, and measured where ``drift`` is given.
    """
    kept: list[Tensor] = []  # held, so that no address is used twice
    branches = Branches(model, drift_layers(model), drift)
    branches.scale = 0.5
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.detach()) or tensor, lambda tensor: tensor
    ):
        loss = lm_loss(model(rows_BT, use_cache=False).logits, rows_BT)
        measured = branches.take_drift()
        _ = loss if measured is None else loss + measured
    branches.remove()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages = [tensor.untyped_storage() for tensor in kept]
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(size for address, size in sizes.items() if address not in weights)


def print_kept(model: PreTrainedModel, rows_BT: Tensor) -> None:
    """Print what autograd keeps with and without the drift, and under checkpointing."""
    model = copy.deepcopy(model).requires_grad_()
    _print_kept(model, rows_BT, "as they are")
    for layer in decoder_layers(model):
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
    _print_kept(model, rows_BT, "with activation checkpointing")


def _print_kept(model: PreTrainedModel, rows_BT: Tensor, how: str) -> None:
    without = kept_bytes(model, rows_BT, None)
    with_drift = kept_bytes(model, rows_BT, drift_function(DriftSettings()))
    sizes = f"{without / 1e6:.2f} MB, with the drift {with_drift / 1e6:.2f} MB"
    print(f"  activations {how}: {sizes}: {with_drift / without:.3f}")


def print_costs(name: str, tokens: int, repeats: int) -> None:
    """Print seconds and ratios of all kinds of steps in one dtype, on blocks of ``tokens``."""
    model = llama(DTYPES[name])
    generator = torch.Generator().manual_seed(0)
    rows_BT = torch.randint(0, VOCABULARY, (1, tokens), generator=generator).to(default_device())
    makers = {
        "fine-tuning": plain_step,
        "drift": drift_step,
        "frozen": frozen_step,
        "gates": gates_step,
    }
    steps = {kind: make(model) for kind, make in makers.items()}
    seconds = interleaved(steps, rows_BT, repeats)
    medians = [f"{kind} {1000 * statistics.median(each):.0f} ms" for kind, each in seconds.items()]
    print(f"{name}, {tokens} tokens, {rows_BT.device}: {', '.join(medians)}")
    two = median_ratio(seconds, "drift", "fine-tuning")
    print(f"  stage two, drift on a quarter of the layers / fine-tuning: {two:.3f}")
    one = median_ratio(seconds, "gates", "frozen")
    print(f"  stage one, gates on all layers / frozen forward + backward: {one:.3f}")
    print_kept(model, rows_BT)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--dtype", action="append", choices=sorted(DTYPES))
    options = parser.parse_args()
    for name in options.dtype or DTYPES:
        print_costs(name, options.tokens, options.repeats)


if __name__ == "__main__":
    main()
