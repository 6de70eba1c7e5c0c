"""``trsp run`` on a real local Ray that does not get to its end: stopped, killed, or failing."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.views.grid_view import Status
from tests.integration import drivers
from tests.tiny_grid import tiny_grid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

QUICK: dict[str, Any] = {
    "ratios": [0.2, 0.5],
    "gate_l1": 0.1,
    "name": "tiny",
    "selectors": "block_influence",
    "transfer": "none",
    "measurement": {"protocol": "none"},
}


def test_stopped_then_killed_then_run_to_its_end_nothing_is_done_twice(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **QUICK)

    stopped = drivers.start(grid)
    drivers.wait_until(lambda: drivers.results(grid), stopped)
    stopped.send_signal(signal.SIGTERM)
    printed = drivers.end(stopped, limit_s=120)
    assert stopped.returncode == 143, printed
    assert "stopped by SIGTERM" in printed
    assert drivers.statuses(grid)["grid"] == {"KILLED"}
    assert "RUNNING" not in drivers.all_statuses(grid)
    assert any("stopped by SIGTERM" in str(run.data.tags) for run in drivers.runs(grid)["grid"])
    assert list((tmp_path / "store" / "drivers").iterdir()) == []
    for log in (tmp_path / "store").rglob("claims"):
        assert json.loads(max(log.iterdir()).read_text())["kind"] == "release"
    first = drivers.results(grid)

    killed = drivers.start(grid)
    drivers.wait_until(lambda: drivers.results(grid, "prune"), killed)
    killed.kill()
    drivers.end(killed)
    second = drivers.results(grid)
    assert first.items() <= second.items()

    drivers.run(grid)
    assert second.items() <= drivers.results(grid).items()
    assert {part.status for part in drivers.view(grid).parts} == {Status.DONE}
    assert drivers.all_statuses(grid) == {"FINISHED"}
    assert drivers.run_counts(grid)["grid"] == 1


def test_a_failed_cell_is_told_and_the_others_finish(
    tmp_path: Path, tiny_llama: Path, text_file: Path
) -> None:
    """The text is long enough by its bytes and too short by its tokens.

    Only the stage that reads it can know.
    """
    short = tmp_path / "short.jsonl"
    short.write_text('{"text": "' + "\\u00e9" * 8 + '"}\n')
    window = {"text": {"name": "short", "path": str(short)}, "window_tokens": 40}
    grid = tiny_grid(
        tmp_path / "g",
        tiny_llama,
        text_file,
        **QUICK | {"ratios": 0.2, "evaluation": {"perplexity": [window]}, "budgets": []},
    )
    driver = drivers.start(grid)
    printed = drivers.end(driver)
    assert driver.returncode == 1, printed
    assert "failed: 0.2 " in printed
    assert "short" in printed
    assert drivers.results(grid, "prune"), "what does not read the text was done"
    assert drivers.all_statuses(grid) <= {"FINISHED", "FAILED"}
