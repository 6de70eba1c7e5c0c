"""What the stages of a cell move to and from an object store, on a real S3 API: weights, once."""

from collections.abc import Callable, Iterator
from dataclasses import replace
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


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a store, and the file of what moved there."""
    monkeypatch.setenv("TRSP_CACHE_DIR", str(tmp_path / "node"))
    for name, value in s3_server.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server.s3_server(counted=tmp_path / "requests") as port:
        uri = f"s3://{s3_server.new_bucket(port)}/a?{s3_server.options(port)}"
        yield uri, tmp_path / "requests"


@pytest.fixture
def tasks(
    tmp_path: Path, tiny_llama: Path, text_file: Path, counted: tuple[str, Path]
) -> tuple[StageTask, ...]:
    """Stage two, prune and evaluate of one cell, each claimed."""
    study = resolve(load_grid(tiny_grid(tmp_path / "g", tiny_llama, text_file)), hardware="cpu")
    specs = cell_stages(study.cells[0], study.study, LAYERS)
    wanted = (StageKind.TRANSFER, StageKind.PRUNE, StageKind.EVALUATE)
    return tuple(claimed(spec, counted[0]) for spec in specs if spec.kind in wanted)


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
    tasks: tuple[StageTask, ...], counted: tuple[str, Path]
) -> None:
    first, *rest = tasks
    assert set(run_chain(replace(first, then=tuple(rest))).values()) == {None}
    requests = requests_in(counted[1])
    checkpoint = size_bytes(counted[0], rest[0].spec.key)
    assert read(requests) == 0
    assert checkpoint <= written(requests) < 1.1 * checkpoint


def test_stages_of_one_node_read_no_weights_of_each_other(
    tasks: tuple[StageTask, ...], counted: tuple[str, Path]
) -> None:
    for task in tasks:
        assert run_task(task) is None
    requests = requests_in(counted[1])
    assert read(requests) == 0
    assert written([each for each in requests if "/transfer-" not in each.path]) < 1.1 * size_bytes(
        counted[0], tasks[1].spec.key
    )


def test_what_moves_beside_weights_and_tokenizer_is_small(
    tasks: tuple[StageTask, ...], counted: tuple[str, Path]
) -> None:
    first, *rest = tasks
    run_chain(replace(first, then=tuple(rest)))
    others = [
        each
        for each in requests_in(counted[1])
        if WEIGHTS not in each.path and "tokenizer" not in each.path
    ]
    assert sum(each.written_bytes + each.read_bytes for each in others) < 12_000 * len(tasks)
