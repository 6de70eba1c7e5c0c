"""What our terms cost: a step of either stage beside the same engine's step without them. Knows no model but its own.

    python benchmarks/step_cost.py [--repeats 15] [--tokens 256] [--dtype fp32 --dtype bf16]

Stage two (drift on a quarter of the layers) is compared with plain fine-tuning; stage one (a gate on every layer, frozen
weights) with forward and backward through the same frozen model, for which its input embeddings need the gradient. The four
kinds of step take turns within one run, so that a busy machine slows them alike; printed are medians and the median ratio of
neighbours. Then the activations that are alive between a forward pass and its backward pass, with and without the drift.
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
Step = Callable[[Tensor], object]


def llama(dtype: torch.dtype) -> PreTrainedModel:
    """12 layers of width 256, 8000 tokens: 14 million weights."""
    config = LlamaConfig(
        vocab_size=8000,
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


def tuning(model: PreTrainedModel) -> Engine:
    return Engine(model, EngineSettings(), 1, OptimizerConfig(1e-5, steps=1, constant=True))


def plain_step(model: PreTrainedModel) -> Step:
    return tuning(copy.deepcopy(model)).step


def drift_step(model: PreTrainedModel) -> Step:
    """At scale 0.5, as in the middle of annealing: the branch is measured and scaled."""
    model = copy.deepcopy(model)
    engine = tuning(model)
    layers = range(1, len(decoder_layers(model)), 4)
    branches = Branches(model, layers, drift_function(DriftSettings()))
    branches.scale = 0.5
    return lambda rows_BT: engine.step(rows_BT, branches.take_drift, 1e-3)


def frozen_step(model: PreTrainedModel) -> Step:
    model = copy.deepcopy(model).requires_grad_(False)

    def step(rows_BT: Tensor) -> None:
        embedded_BTD = model.get_input_embeddings()(rows_BT).requires_grad_()
        lm_loss(model(inputs_embeds=embedded_BTD, use_cache=False).logits, rows_BT).backward()

    return step


def gates_step(model: PreTrainedModel) -> Step:
    model = copy.deepcopy(model)
    engine, layers = Engine(model, EngineSettings(), 1), range(len(decoder_layers(model)))
    gates = torch.ones(len(layers), device=default_device(), requires_grad=True)
    optimizer = GateOptimizer(gates, learning_rate=1e-2)

    def step(rows_BT: Tensor) -> None:
        with gated(model, gates, layers, "residual"):
            engine.step(rows_BT, lambda: gate_l1(gates, 1.0), 5e-3, optimizer)

    return step


def interleaved(steps: Mapping[str, Step], rows_BT: Tensor, repeats: int) -> dict[str, list[float]]:
    """Seconds of each kind of step, ``repeats`` of each, in turn, after two rounds of warm-up."""
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


def ratio(seconds: Mapping[str, list[float]], ours: str, theirs: str) -> float:
    return statistics.median(a / b for a, b in zip(seconds[ours], seconds[theirs], strict=True))


def kept_bytes(model: PreTrainedModel, rows_BT: Tensor, drift: Drift | None) -> int:
    """Bytes that autograd keeps for the backward pass, weights left out; branches at scale 0.5, measured or not."""
    kept: list[Tensor] = []  # held, so that no address is used twice
    branches = Branches(model, range(1, len(decoder_layers(model)), 4), drift)
    branches.scale = 0.5
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.detach()) or tensor, lambda tensor: tensor
    ):
        loss, measured = (
            lm_loss(model(rows_BT, use_cache=False).logits, rows_BT),
            branches.take_drift(),
        )
        _ = loss if measured is None else loss + measured
    branches.remove()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    sizes = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept
    }
    return sum(size for address, size in sizes.items() if address not in weights)


def print_kept(model: PreTrainedModel, rows_BT: Tensor) -> None:
    model = copy.deepcopy(model).requires_grad_()
    for recomputed in (False, True):
        if recomputed:
            for layer in decoder_layers(model):
                layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)
        without, with_it = (
            kept_bytes(model, rows_BT, drift) for drift in (None, drift_function(DriftSettings()))
        )
        how = "with activation checkpointing" if recomputed else "as they are"
        print(
            f"  activations {how}: {without / 1e6:.2f} MB, with the drift {with_it / 1e6:.2f} MB: {with_it / without:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--dtype", action="append", choices=sorted(DTYPES))
    args = parser.parse_args()
    rows_BT = torch.randint(
        0, 8000, (1, args.tokens), generator=torch.Generator().manual_seed(0)
    ).to(default_device())
    for name in args.dtype or DTYPES:
        model = llama(DTYPES[name])
        kinds = {
            "fine-tuning": plain_step,
            "drift": drift_step,
            "frozen": frozen_step,
            "gates": gates_step,
        }
        seconds = interleaved(
            {kind: make(model) for kind, make in kinds.items()}, rows_BT, args.repeats
        )
        medians = ", ".join(
            f"{kind} {1000 * statistics.median(each):.0f} ms" for kind, each in seconds.items()
        )
        print(f"{name}, {args.tokens} tokens, {rows_BT.device}: {medians}")
        print(
            f"  stage two, drift on a quarter of the layers / fine-tuning: {ratio(seconds, 'drift', 'fine-tuning'):.3f}"
        )
        print(
            f"  stage one, gates on all layers / frozen forward + backward: {ratio(seconds, 'gates', 'frozen'):.3f}"
        )
        print_kept(model, rows_BT)


if __name__ == "__main__":
    main()
