"""What the stages of a cell move to and from an object store, on a real S3 API: weights, once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from orchestrator.execution.chain import run_chain
from orchestrator.execution.run_stage import StageTask, run_task
from orchestrator.grid.schema import load_grid
from orchestrator.stages.resolve import resolve
from orchestrator.stages.stage_specs import StageKind, StageSpec, cell_stages
from orchestrator.store.store import Store
from tests import s3_server
from tests.counted_s3 import Request, requests_in
from tests.orchestrator.execution.conftest import LAYERS
from tests.tiny_grid import tiny_grid
from trsp.records import CheckpointRecord

WEIGHTS = ".safetensors"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of an S3 API, and the file of what moved there."""
    file = tmp_path_factory.mktemp("s3") / "requests"
    with pytest.MonkeyPatch.context() as environment:
        for name, value in s3_server.CREDENTIALS.items():
            environment.setenv(name, value)
        with s3_server.s3_server(counted=file) as port:
            yield port, file


@dataclass(frozen=True)
class Counted:
    """A store of its own, and what moved there."""

    uri: str
    bucket: str
    file: Path

    def requests(self) -> list[Request]:
        return [each for each in requests_in(self.file) if self.bucket in each.path]


@pytest.fixture
def counted(server: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    monkeypatch.setenv("TRSP_CACHE_DIR", str(tmp_path / "node"))
    port, file = server
    bucket = s3_server.new_bucket(port)
    return Counted(f"s3://{bucket}/a?{s3_server.options(port)}", bucket, file)


@pytest.fixture
def tasks(
    tmp_path: Path, tiny_llama: Path, text_file: Path, counted: Counted
) -> tuple[StageTask, ...]:
    """Stage two, prune and evaluate of one cell, each claimed."""
    study = resolve(load_grid(tiny_grid(tmp_path / "g", tiny_llama, text_file)), hardware="cpu")
    specs = cell_stages(study.cells[0], study.study, LAYERS)
    wanted = (StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE)
    return tuple(claimed(spec, counted.uri) for spec in specs if spec.kind in wanted)


def claimed(spec: StageSpec, uri: str) -> StageTask:
    ticket = Store(uri).claims.take(spec.key, "me")
    return StageTask(spec, uri, attempt=ticket.attempt, claim=ticket.number)


def of_weights(requests: list[Request], amount: Callable[[Request], int]) -> int:
    return sum(amount(each) for each in requests if WEIGHTS in each.path)


def read(requests: list[Request]) -> int:
    return of_weights(requests, lambda each: each.read_bytes if each.method == "GET" else 0)


def written(requests: list[Request]) -> int:
    return of_weights(requests, lambda each: each.written_bytes)


def size_bytes(uri: str, key: str) -> int:
    return CheckpointRecord.model_validate(Store(uri).stages.result(key)).size_bytes


def test_a_chain_writes_its_checkpoint_once_and_reads_no_weights(
    tasks: tuple[StageTask, ...], counted: Counted
) -> None:
    first, *rest = tasks
    assert set(run_chain(replace(first, then=tuple(rest))).values()) == {None}
    requests = counted.requests()
    checkpoint = size_bytes(counted.uri, rest[0].spec.key)
    assert read(requests) == 0
    assert checkpoint <= written(requests) < 1.1 * checkpoint


def test_stages_of_one_node_read_no_weights_of_each_other(
    tasks: tuple[StageTask, ...], counted: Counted
) -> None:
    for task in tasks:
        assert run_task(task) is None
    requests = counted.requests()
    assert read(requests) == 0
    assert written([each for each in requests if "/transfer-" not in each.path]) < 1.1 * size_bytes(
        counted.uri, tasks[1].spec.key
    )


def test_what_moves_beside_weights_and_tokenizer_is_small(
    tasks: tuple[StageTask, ...], counted: Counted
) -> None:
    first, *rest = tasks
    run_chain(replace(first, then=tuple(rest)))
    others = [
        each
        for each in counted.requests()
        if WEIGHTS not in each.path and "tokenizer" not in each.path
    ]
    assert sum(each.written_bytes + each.read_bytes for each in others) < 12_000 * len(tasks)


def test_a_small_file_costs_one_request(counted: Counted) -> None:
    Store(counted.uri).files.write("small.json", b"{}")
    assert [each.method for each in counted.requests() if "small" in each.path] == ["PUT"]
