"""Several drivers at once on one grid and one store, also where one of them is paused."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.views.grid_view import Status
from tests import s3_server
from tests.integration import drivers
from tests.integration.made_up_driver import made_up_grid
from tests.mlflow_server import TrackingServer
from tests.orchestrator.fresh_view import view_of
from tests.tiny_grid import tiny_grid
from tests.trials import findings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# Of a claim whose driver gives no sign of life: short, but on busy cores a driver that lives may
# say nothing for some seconds.
LIFETIME_S = 5.0
LONG_S = 60.0
LIMIT_S = 300
QUICK: dict[str, Any] = {
    "ratios": [0.2, 0.5],
    "gate_l1": 0.1,
    "selectors": "block_influence",
    "transfer": "none",
    "measurement": {"protocol": "none"},
    "budgets": [],
}


@pytest.fixture(params=["folder", "S3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of an empty store."""
    if request.param == "folder":
        yield str(tmp_path / "a store")
        return
    with pytest.MonkeyPatch.context() as environment, s3_server.s3_server() as port:
        for name, value in s3_server.CREDENTIALS.items():
            environment.setenv(name, value)
        yield f"s3://{s3_server.new_bucket(port)}/s?{s3_server.options(port)}"


@dataclass
class Several:
    """Drivers of made-up stages on one store, and what they say that they did."""

    store: str
    tracking_uri: str
    log: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, count: int, seconds: float, lifetime_s: float = LONG_S) -> None:
        """Start so many drivers at once; each of their stages takes so many seconds.

        ``lifetime_s``: of a claim whose driver gives no sign of life.
        """
        command = [sys.executable, "-m", "tests.integration.made_up_driver", self.store]
        command += [self.tracking_uri, str(self.log), str(seconds), str(count)]
        self.log.touch()
        for _ in range(count):
            self.processes.append(
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    env=os.environ | {"TRSP_CLAIM_LIFETIME_S": str(lifetime_s)},
                )
            )

    def keys(self, what: str, process: subprocess.Popen[str] | None = None) -> list[str]:
        """The keys of the stages that were ``begun`` or ``done``, in that order."""
        lines = [line.split() for line in self.log.read_text(encoding="utf-8").splitlines()]
        return [
            key
            for said, key, pid in lines
            if said == what and (process is None or int(pid) == process.pid)
        ]

    def held_by(self, process: subprocess.Popen[str]) -> set[str]:
        """The keys of the stages that it has begun and not done."""
        return {*self.keys("begun", process)} - {*self.keys("done", process)}

    def end(self) -> None:
        """Wait for their ends, all with 0."""
        printed = [drivers.end(process, LIMIT_S) for process in self.processes]
        codes = [process.returncode for process in self.processes]
        assert set(codes) == {0}, "\n".join([str(codes), *(text[-2000:] for text in printed)])

    def assert_whole(self) -> None:
        """Everything is done, nothing was published twice, and nothing is left over."""
        grid = made_up_grid(self.store, self.tracking_uri)
        view = view_of(grid)
        assert {part.status for part in (*view.parts, *view.rankings)} == {Status.DONE}
        assert set(Counter(self.keys("done")).values()) == {1}
        assert list(findings.orphans(self.store)) == []


@pytest.fixture
def several(store: str, tracking_server: TrackingServer, tmp_path: Path) -> Iterator[Several]:
    tracking_server.empty_registry()
    started = Several(store, tracking_server.url, tmp_path / "log.txt")
    yield started
    for process in started.processes:
        process.kill()
        process.wait()


def test_three_drivers_run_each_stage_once(several: Several) -> None:
    several.start(3, seconds=2.0)  # longer than between two looks at what others have done
    several.end()
    several.assert_whole()
    assert set(Counter(several.keys("begun")).values()) == {1}
    assert all(several.keys("begun", process) for process in several.processes), "all take part"


def test_a_driver_that_was_paused_for_longer_than_its_claims_live_publishes_nothing_of_theirs(
    several: Several,
) -> None:
    """The stages that it held are the other's, who computes them; then both end well."""
    several.start(2, seconds=1.0, lifetime_s=LIFETIME_S)
    paused, other = several.processes
    drivers.wait_until(lambda: several.held_by(paused), paused)
    paused.send_signal(signal.SIGSTOP)
    held = several.held_by(paused)
    drivers.wait_until(lambda: held <= {*several.keys("done", other)}, other, LIMIT_S)
    paused.send_signal(signal.SIGCONT)
    several.end()
    several.assert_whole()
    assert not held & {*several.keys("done", paused)}
    begun = Counter(several.keys("begun"))
    assert {key for key, count in begun.items() if count > 1} == held


def test_two_drivers_with_real_stages_commit_each_result_once(
    tmp_path: Path, tiny_llama: Path, text_file: Path, tracking_server: TrackingServer
) -> None:
    """The one that begins first is paused. Each has a Ray of its own, and its stages run on."""
    tracking_server.empty_registry()
    tracking = {"uri": tracking_server.url, "experiment": "two drivers"}
    grid = tiny_grid(tmp_path, tiny_llama, text_file, **QUICK, tracking=tracking)
    both = [drivers.start(grid, TRSP_CLAIM_LIFETIME_S=str(LIFETIME_S)) for _ in range(2)]
    working = drivers.wait_until(lambda: _that_work(both), both[0])
    working[0].send_signal(signal.SIGSTOP)
    time.sleep(2 * LIFETIME_S)
    working[0].send_signal(signal.SIGCONT)
    printed = [drivers.end(driver, LIMIT_S) for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], "\n".join(printed)
    assert {part.status for part in drivers.view(grid).parts} == {Status.DONE}
    store = str(tmp_path / "store")
    assert [*findings.claims(store), *findings.orphans(store)] == []
    assert list(findings.open_runs(tracking_server.database, "two drivers")) == []


def _that_work(started: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    """The drivers that have a stage running."""
    return [driver for driver in started if drivers.stage_process(driver)]
