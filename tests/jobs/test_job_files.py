"""Every file in jobs/ is a grid that an editor can check and a cluster can execute."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from orchestrator.grid.expand import expand
from orchestrator.grid.reference.json_schema import json_schema
from orchestrator.grid.schema import load_grid
from orchestrator.grid.yaml_file import read_yaml
from orchestrator.stages.resolve import resolve_offline
from tests.orchestrator.sample_grids import model
from trsp.config import DriftSettings, HealSettings, TrainingSettings

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
SHEBANG = "#!/usr/bin/env -S python -m orchestrator"


@pytest.fixture(autouse=True)
def _assets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRSP_HOME", "/home")


def test_there_are_jobs() -> None:
    assert {job.name for job in JOBS} >= {"demo.yaml", "grid.yaml", "paper.yaml"}


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_it_can_be_executed(job: Path) -> None:
    assert stat.S_IMODE(job.stat().st_mode) & 0o111 == 0o111, f"chmod +x jobs/{job.name}"
    assert job.read_text(encoding="utf-8").splitlines()[0] == SHEBANG


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_git_knows_the_mode(job: Path) -> None:
    """Ray's upload keeps the mode of the working tree, a clone's from git: 0644 exits with 126."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-s", "--", str(job)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed.stdout.startswith("100755 "), f"git update-index --chmod=+x jobs/{job.name}"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_editors_find_a_schema_that_accepts_it(job: Path) -> None:
    found = re.match(
        r"# yaml-language-server: \$schema=(\S+)", job.read_text(encoding="utf-8").splitlines()[1]
    )
    assert found
    assert (job.parent / found[1]).resolve() == ROOT / "orchestrator" / "grid.schema.json"
    jsonschema.validate(read_yaml(job), json_schema())


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_it_loads_and_every_cell_can_be(job: Path) -> None:
    grid = load_grid(job)
    found = expand(
        grid, {entry.name: model(entry.name, entry.layers or 30) for entry in grid.models}
    )
    assert found.cells
    assert not found.refusals
    assert not found.notes
    assert not found.unresolved


@pytest.mark.parametrize("name", ["grid.yaml", "paper.yaml"])
def test_the_big_ones_can_be_planned_anywhere(name: str) -> None:
    resolved = resolve_offline(load_grid(ROOT / "jobs" / name))
    assert not resolved.expansion.unresolved
    assert not resolved.expansion.refusals


def test_the_demo_shows_stage_two_beside_its_controls() -> None:
    """The same layers with nothing trained, and with plain training in as many steps."""
    grid = load_grid(ROOT / "jobs" / "demo.yaml")
    found = expand(grid, {entry.name: model(entry.name, 30) for entry in grid.models})
    assert len(found.cells) == 14
    for selector in ("gates", "block_influence"):
        for removed in (3, 6):
            transfers = {
                cell.transfer.name: cell.transfer
                for cell in found.cells
                if (cell.selector.name, cell.removed) == (selector, removed)
                and cell.gate_l1 in (None, 5e-3)
            }
            assert transfers.keys() == {"none", "drift", "heal"}
            drift, heal = transfers["drift"], transfers["heal"]
            assert isinstance(drift, DriftSettings)
            assert isinstance(heal, HealSettings)
            budget = set(TrainingSettings.model_fields)
            assert drift.model_dump(include=budget) == heal.model_dump(include=budget)


def test_the_papers_table_is_whole() -> None:
    """Every model and method of the table, and each selector without training and healed.

    The table is in docs/method.md, section 3.
    """
    resolved = resolve_offline(load_grid(ROOT / "jobs" / "paper.yaml"))
    assert {cell.model.name for cell in resolved.cells} == {
        "Llama-2-7b",
        "Llama-3-8B",
        "Llama-2-13b",
        "phi-2",
        "opt-2.7b",
    }
    assert {cell.ratio for cell in resolved.cells} == {0.25, 7 / 32}
    kinds = {
        (cell.selector.name, getattr(cell.selector, "preset", ""), cell.transfer.name)
        for cell in resolved.cells
    }
    baselines = {
        (name, "", transfer)
        for name in ("block_influence", "sleb")
        for transfer in ("none", "heal")
    }
    gates = {
        ("gates", preset, transfer)
        for preset in ("paper", "default")
        for transfer in ("none", "heal", "drift")
    }
    assert kinds == baselines | gates


def test_the_papers_numbers_are_measured_as_published() -> None:
    grid = load_grid(ROOT / "jobs" / "paper.yaml")
    calibration, wikitext = grid.calibration, grid.evaluation.perplexity[0]
    assert (calibration.cut, calibration.bos, calibration.blocks) == ("stream", "once", 128)
    assert (wikitext.bos, wikitext.window_tokens, wikitext.max_windows) == ("once", 2048, None)
    for text, split in ((calibration.text, "train"), (wikitext.text, "test")):
        assert (text.config, text.split, text.max_documents) == ("wikitext-2-raw-v1", split, None)


def test_the_page_of_published_numbers_names_cells_of_the_file() -> None:
    page = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:\d+%|\d+/\d+) [^`]+)`", page))
    cells = resolve_offline(load_grid(ROOT / "jobs" / "paper.yaml")).cells
    known = {cell.name.removesuffix(f" {cell.model.name}") for cell in cells}
    assert len(named) >= 6
    assert named <= known


def test_a_strength_goes_with_its_own_scale_of_the_drift() -> None:
    """No two cells of the study differ only by a lambda_2 that changes nothing."""
    for name in ("grid.yaml", "paper.yaml"):
        strengths = {
            (cell.transfer.drift_scale, cell.transfer.anneal, cell.drift)
            for cell in resolve_offline(load_grid(ROOT / "jobs" / name)).cells
            if isinstance(cell.transfer, DriftSettings)
        }
        absolute = {1e-4, 1e-3, 1e-2} if name == "grid.yaml" else {1e-3}
        expected = {("relative", True, 0.0)} | {("absolute", False, each) for each in absolute}
        if name == "grid.yaml":
            expected |= {("relative", False, each) for each in (0.1, 0.3, 1.0)}
        assert strengths == expected


def test_the_shebang_runs_a_grid(tmp_path: Path) -> None:
    """The file itself is executed, as by Ray, with ``python`` found on PATH.

    An error proves that our command read it.
    """
    job = tmp_path / "broken.yaml"
    job.write_text(f"{SHEBANG}\nmodelss: x\n", encoding="utf-8")
    job.chmod(0o755)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [job],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown key 'modelss'" in done.stderr
