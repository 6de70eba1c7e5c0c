"""Offload to NVMe: refused before anything starts, or as good as none."""

from pathlib import Path

import pytest
import torch
from deepspeed.ops.op_builder import AsyncIOBuilder

from tests.tiny import tiny_model, weights
from tests.trsp.engine.ways import BLOCKS, DRIFT, REFERENCE, marks
from trsp.checkpoints.checkpoint import load_model
from trsp.config import EngineSettings
from trsp.distributed.zero3_parameters import whole_tensor
from trsp.engine.deepspeed_runtime import check_offload
from trsp.engine.load_sharded import load_sharded
from trsp.errors import InvalidInputError
from trsp.transfer import transfer


def test_a_model_loaded_whole_does_not_go_to_nvme(tmp_path: Path) -> None:
    settings = EngineSettings(zero_stage=3, offload_weights="nvme", nvme_path=str(tmp_path))
    with pytest.raises(InvalidInputError, match=r"loaded whole.*load_sharded"):
        transfer(tiny_model("llama"), [1], BLOCKS, DRIFT, 0.5, settings)


def check_refused(settings: EngineSettings, source: Path) -> None:
    cure = r"libaio.*offload_optimizer and offload_weights to cpu"
    with pytest.raises(InvalidInputError, match=cure):
        load_sharded(str(source), engine=settings)
    model = tiny_model("llama")
    marked = marks(model)
    optimizer_alone = settings.model_copy(update={"offload_weights": "none"})
    with pytest.raises(InvalidInputError, match=cure):
        transfer(model, [1], BLOCKS, DRIFT, 0.5, optimizer_alone)
    assert marks(model) == marked


def test_offload_to_nvme_is_tried_or_refused_before_anything_starts(
    tmp_path: Path, tiny_llama: Path
) -> None:
    settings = EngineSettings(
        zero_stage=3, offload_optimizer="nvme", offload_weights="nvme", nvme_path=str(tmp_path)
    )
    if not AsyncIOBuilder().is_compatible(verbose=False):
        check_refused(settings, tiny_llama)
        pytest.skip("libaio's headers are not here: only the refusal could be tested")
    trained, wanted = load_sharded(str(tiny_llama), engine=settings), load_model(str(tiny_llama))
    transfer(trained, [1], BLOCKS, DRIFT, 0.5, settings)
    transfer(wanted, [1], BLOCKS, DRIFT, 0.5, REFERENCE)
    for name, parameter in trained.named_parameters():
        if ".layers.1." not in name:  # will be deleted: see deepspeed_runtime.forget_gradients
            torch.testing.assert_close(
                whole_tensor(parameter), weights(wanted)[name], rtol=0, atol=3e-5
            )


def test_a_folder_on_nvme_that_is_not_there_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AsyncIOBuilder, "is_compatible", lambda *_, **__: True)
    settings = EngineSettings(
        zero_stage=3, offload_weights="nvme", nvme_path=str(tmp_path / "none")
    )
    with pytest.raises(InvalidInputError, match=r"none is no folder.*every node"):
        check_offload(settings)
