"""Files that are no grid, and numbers as people write them in YAML."""

from pathlib import Path

import pytest

from orchestrator.grid.schema import load_grid
from orchestrator.grid.yaml_file import read_yaml
from tests.orchestrator.sample_grids import grid_file, refusal
from trsp.config import DriftSettings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a\n- b\n", "not a grid: a mapping with the key 'models' is wanted, a list came"),
        ("", "not a grid: a mapping with the key 'models' is wanted, nothing came"),
        ("just words", "a str came"),
        ("1: 2", "not a grid"),
        ("models: [", "not valid YAML"),
        ("models: a\nmodels: b\n", "key 'models' is given twice"),
        ("models: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("{[a]: b}", "not valid YAML"),
    ],
)
def test_a_yaml_that_is_no_grid(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "no grid.yaml"
    file.write_text(text, encoding="utf-8")
    assert said in refusal(file)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read as text" in refusal(tmp_path / "binary.yaml")
    assert "no such file" in refusal(tmp_path / "absent.yaml")
    assert "cannot be read" in refusal(tmp_path)


def test_numbers_as_people_and_editors_read_them(tmp_path: Path) -> None:
    file = grid_file(tmp_path)
    written = (
        "\ngate_l1: [1e-4, 1E-3, 2.5e-3]\n"
        "transfer: {name: drift, learning_rate: 3e-5}\nname: 1e4x\n"
    )
    file.write_text(file.read_text(encoding="utf-8") + written, encoding="utf-8")
    assert read_yaml(file)["gate_l1"] == [1e-4, 1e-3, 2.5e-3]
    found = load_grid(file)
    assert (found.gate_l1, found.transfer, found.name) == (
        (1e-4, 1e-3, 2.5e-3),
        (DriftSettings(learning_rate=3e-5),),
        "1e4x",
    )
