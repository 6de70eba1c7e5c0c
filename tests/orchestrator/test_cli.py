"""The command line: what it prints, and by which exit code it says how it went."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import run as driver
from orchestrator.cli import main
from orchestrator.grid.schema import Grid
from orchestrator.views.grid_view import GridView, Status
from tests.orchestrator.looked_at import looks_at
from tests.orchestrator.sample_grids import CALIBRATION, EVALUATION, grid_file, scored

CELLS = (
    scored(1, 90, 40.0, (3.6, 3.9)),
    scored(2, 100, 30.0, (3.3, 3.5)),
    scored(3, 120, 25.0, (3.2, 3.25)),
)


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    code = caught.value.code
    return code if isinstance(code, int) else int(code is not None)


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store in which every cell is done; what is in a store is for tests of views to test."""

    def view(grid: Grid) -> GridView:
        return GridView("grid-0", grid.name, CELLS, (), (), status=Status.DONE)

    looks_at(monkeypatch, view)


# --- best ---------------------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("best", grid_file(tmp_path), "--max-params", "110") == 0
    printed = capsys.readouterr().out
    assert "best: 20% reverse seed=2" in printed
    assert "runner-up: 20% reverse seed=1" in printed
    assert (
        "behind by +0.35 +- 0.05 (standard error) nats per token over the same 2 windows" in printed
    )
    assert 'model = AutoModelForCausalLM.from_pretrained("/store/prune-2")' in printed


@pytest.mark.usefixtures("finished")
def test_the_snippet_is_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call("best", grid_file(tmp_path), "--json")
    compile(json.loads(capsys.readouterr().out)[0]["load"], "snippet", "exec")


@pytest.mark.usefixtures("finished")
def test_best_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("best", grid_file(tmp_path), "--max-bytes", "0.22kB", "--json") == 0
    (choice,) = json.loads(capsys.readouterr().out)
    assert (choice["budget"], choice["limits"], choice["metric"]) == (
        "best-bytes-220b",
        {"bytes": 220},
        "perplexity/wiki",
    )
    assert choice["best"]["checkpoint"] == "/store/prune-2"
    assert choice["best"]["removed_layers"] == [7, 8]
    assert choice["best"]["metrics"]["params"] == 100
    assert choice["comparison"]["tie"] is False
    assert [cell["metrics"]["params"] for cell in choice["pareto_front"]] == [90, 100, 120]


@pytest.mark.usefixtures("finished")
def test_a_budget_that_nothing_meets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("best", grid_file(tmp_path), "--max-params", "60") == 3
    assert (
        "nothing meets this budget; nearest is 20% reverse seed=1, 50.0 % above it"
        in capsys.readouterr().out
    )
    assert call("best", grid_file(tmp_path), "--max-latency-ms", "5") == 3
    assert (
        "no cell has perplexity/wiki and every number that the budget limits"
        in capsys.readouterr().out
    )


@pytest.mark.usefixtures("finished")
def test_without_limits_the_files_budgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = grid_file(tmp_path, budgets=[{"max_params": 90}, {"max_params": 110, "name": "mine"}])
    assert call("best", file, "--json") == 0
    choices = json.loads(capsys.readouterr().out)
    assert [(c["budget"], c["best"]["metrics"]["params"]) for c in choices] == [
        ("best-params-90", 90),
        ("mine", 100),
    ]
    assert call("best", file, "--max-params", "120", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-params", "lots"], "error: budget: max_params: 'lots' is not a quantity"),
        (["--metric", "perplexity/wikki"], "did you mean 'perplexity/wiki'?"),
        (
            ["--max-latency-ms", "-3"],
            "error: budget: max_latency_ms: Input should be greater than 0",
        ),
    ],
)
@pytest.mark.usefixtures("finished")
def test_a_budget_that_makes_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert call("best", grid_file(tmp_path), *options) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("finished")
def test_a_metric_asked_for_holds_for_the_files_budgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = grid_file(tmp_path, budgets=[{"max_params": 110}])
    assert call("best", file, "--metric", "perplexity/wikki") == 2
    assert "did you mean 'perplexity/wiki'?" in capsys.readouterr().err


# --- status and run -----------------------------------------------------------


@pytest.mark.usefixtures("finished")
def test_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("status", grid_file(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert [line for seed in (3, 2, 1) for line in printed.splitlines() if f"seed={seed}" in line]
    assert "3 of 3 cells done" in printed


@pytest.mark.parametrize("arguments", [["run"], []])
def test_a_file_alone_means_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    asked: list[tuple[Path, str | None]] = []

    def run_grid(path: Path, address: str | None = None) -> int:
        asked.append((path, address))
        return 1

    monkeypatch.setattr(driver, "run_grid", run_grid)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    file = grid_file(tmp_path / "a folder")
    assert call(*arguments, file, "--address", "auto") == 1
    assert asked == [(file, "auto")]


def test_a_wrong_command_is_not_taken_for_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plna") == 2
    assert "No such command 'plna'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ratioss": 1}, "unknown key 'ratioss'"),
        ({"selectors": "gate"}, "unknown selector 'gate'"),
        ({"ratios": 1.0}, "ratio 1 is outside (0, 1)"),
        ({"ratios": 0.99}, "removes all 6 layers of tiny-llama and leaves none"),
        ({"ratios": []}, "ratios: is empty"),
        ({"models": "/no such folder/m"}, "does not exist"),
        (
            {"calibration": {**CALIBRATION, "block_tokens": 10**9}},
            "cannot make one calibration block of 1000000000 tokens",
        ),
        ({"storage": {"store": "/proc/no/store"}}, "/proc/no/store"),
        ({"tracking": {"uri": "http://127.0.0.1:1"}}, "no MLflow at http://127.0.0.1:1"),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_bad_input_starts_nothing(
    tmp_path: Path,
    tiny_llama: Path,
    text_file: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    text = {"name": "wiki", "path": str(text_file)}
    store = tmp_path / "a store"
    sound: dict[str, Any] = {
        "models": str(tiny_llama),
        "calibration": {**CALIBRATION, "text": text},
        "evaluation": {"perplexity": [{**EVALUATION["perplexity"][0], "text": text}]},
        "storage": {"store": str(store)},
        "tracking": {"uri": f"sqlite:///{tmp_path}/mlflow.db"},
    }
    wanted = sound | changes
    if "calibration" in changes:
        wanted["calibration"] = {**changes["calibration"], "text": text}
    assert call("run", grid_file(tmp_path / "job folder", **wanted)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert said in error
    assert "Traceback" not in error
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
    assert not any(path.is_file() for path in store.rglob("*"))
