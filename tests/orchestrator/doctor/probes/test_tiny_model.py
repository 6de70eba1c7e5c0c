"""The tiny model that goes through all stages."""

from pathlib import Path

from transformers import AutoModelForCausalLM, AutoTokenizer

from orchestrator.doctor.probes.tiny_model import LAYERS, tiny_files, tiny_grid, write_files
from orchestrator.stages.resolve import resolve


def test_transformers_loads_all_of_it(tmp_path: Path) -> None:
    write_files(tiny_files(), str(tmp_path))
    model, report = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = AutoTokenizer.from_pretrained(tmp_path / "model")("A", return_tensors="pt")
    assert ids["input_ids"].tolist() == [[model.config.bos_token_id, 32]]
    assert model(**ids).logits.isfinite().all()


def test_its_grid_is_one_cell_that_can_be_pruned(tmp_path: Path) -> None:
    write_files(tiny_files(), str(tmp_path))
    resolved = resolve(tiny_grid(str(tmp_path), str(tmp_path / "store")))
    resolved.expansion.require("doctor")
    (cell,) = resolved.cells
    assert (cell.model.layers, cell.removed) == (LAYERS, 1)


def test_every_call_makes_the_same_bytes() -> None:
    assert tiny_files() == tiny_files()
