"""Models that lie on several devices within one process: measured by selectors, not trained.

There is one device here. So the arithmetic between two of them is tried on ``meta`` tensors, and a
whole model with layers that wait on a disk, which is a place of its own.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import dispatch_model

from tests.tiny import LAYERS, tiny_model
from trsp.architecture.decoders import decoder_layers
from trsp.config import (
    BlockInfluenceSettings,
    DriftSettings,
    EngineSettings,
    GatesSettings,
    SlebSettings,
)
from trsp.distributed.device import devices_of, peak_memory_bytes, placement, synchronize
from trsp.engine.refusals import check_one_device
from trsp.errors import InvalidInputError
from trsp.evaluation.evaluate import windows_nll
from trsp.gates import Placement, added_up, apply_gate
from trsp.losses import lm_loss
from trsp.selection import rank_layers
from trsp.selection.block_influence import block_influence, mean_cosine
from trsp.surgery import remove_layers_verified
from trsp.transfer import transfer

BLOCKS = torch.randint(0, 256, (2, 16), generator=torch.Generator().manual_seed(0))
HERE, THERE = torch.ones(1, 4, 8), torch.ones(1, 4, 8, device="meta")


@pytest.fixture
def spread(tmp_path: Path) -> Any:
    """A model of which layers 2 and 3 wait on a disk, as transformers' ``device_map`` leaves it."""
    model = tiny_model("llama")
    names = ["model.embed_tokens", "model.norm", "model.rotary_emb", "lm_head"]
    places: dict[str, Any] = dict.fromkeys(names, "cpu")
    places |= {f"model.layers.{i}": "disk" if i in (2, 3) else "cpu" for i in range(LAYERS)}
    return dispatch_model(
        model, places, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True
    )


# --- between two devices ----------------------------------------------------


def test_a_layers_input_is_compared_where_its_output_lies() -> None:
    assert mean_cosine(HERE, THERE).device.type == "meta"


@pytest.mark.parametrize("placed", ["output", "residual"])
def test_a_gate_works_where_the_layers_output_lies(placed: Placement) -> None:
    assert apply_gate(HERE, THERE, torch.ones(()), placed).device.type == "meta"


def test_drifts_of_several_devices_are_added_up_on_the_first() -> None:
    assert added_up([torch.ones((), device="meta"), torch.ones(())]).device.type == "meta"
    assert added_up([torch.tensor(1.0), torch.tensor(2.0)]) == 3.0


def test_the_loss_is_taken_where_the_logits_lie() -> None:
    assert lm_loss(torch.ones(1, 4, 8, device="meta"), BLOCKS[:1, :4]).device.type == "meta"


# --- memory and time --------------------------------------------------------


def test_the_peak_is_summed_over_the_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = {"cuda:0": 5, "cuda:1": 7}
    monkeypatch.setattr("torch.cuda.max_memory_allocated", lambda device: peaks[str(device)])
    devices = [torch.device("cpu"), torch.device("cuda", 0), torch.device("cuda", 1)]
    assert peak_memory_bytes(*devices) == 12
    assert peak_memory_bytes(torch.device("cpu")) > 12


def test_every_accelerator_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr("torch.cuda.synchronize", lambda device: waited.append(str(device)))
    synchronize(torch.device("cuda", 0), torch.device("cpu"), torch.device("cuda", 1))
    assert waited == ["cuda:0", "cuda:1"]


def test_a_models_devices_are_those_of_its_tensors(spread: Any) -> None:
    assert devices_of(tiny_model("llama", layers=1)) == [torch.device("cpu")]
    assert devices_of(spread) == [torch.device("cpu")]


# --- what is refused --------------------------------------------------------


def test_a_model_on_one_device_is_trained() -> None:
    assert placement(tiny_model("llama", layers=1)) == {"cpu"}
    check_one_device({"cuda:3"})


def test_gpus_of_a_map_have_names() -> None:
    model = tiny_model("llama", layers=1)
    model.hf_device_map = {"model": 0, "lm_head": 1}
    assert placement(model) == {"cuda:0", "cuda:1"}


def test_the_refusal_says_where_the_model_lies_and_what_to_do() -> None:
    with pytest.raises(InvalidInputError, match=r"spread over cuda:0, cuda:1.*torchrun"):
        check_one_device({"cuda:1", "cuda:0"})


@pytest.mark.parametrize(
    "train",
    [
        lambda model: transfer(model, [1], BLOCKS, DriftSettings()),
        lambda model: next(iter(rank_layers(model, BLOCKS, GatesSettings(), depth=1))),
        lambda model: transfer(model, [1], BLOCKS, DriftSettings(), 0.1, EngineSettings()),
    ],
    ids=["transfer", "gates", "with an engine"],
)
def test_a_spread_model_is_not_trained(train: Any, spread: Any) -> None:
    with pytest.raises(InvalidInputError, match="spread over cpu, disk"):
        train(spread)


# --- what works -------------------------------------------------------------


def test_a_spread_model_has_the_same_block_influence(spread: Any) -> None:
    assert block_influence(spread, BLOCKS) == pytest.approx(
        block_influence(tiny_model("llama"), BLOCKS), abs=1e-6
    )


@pytest.mark.parametrize("selector", [BlockInfluenceSettings(), SlebSettings()])
def test_a_spread_model_is_ranked_alike(selector: Any, spread: Any) -> None:
    found, wanted = (
        [record.layer for record in rank_layers(model, BLOCKS, selector, depth=3)]
        for model in (spread, tiny_model("llama"))
    )
    assert found == wanted


def test_a_spread_model_is_scored_alike(spread: Any) -> None:
    assert windows_nll(spread, BLOCKS) == pytest.approx(windows_nll(tiny_model("llama"), BLOCKS))


def test_layers_of_a_spread_model_can_go(spread: Any) -> None:
    """A layer that was on the other device, and one that was not; the proof runs over both."""
    remove_layers_verified(spread, [1, 2])
    assert len(decoder_layers(spread)) == LAYERS - 2
