"""A function on N ranks of a gloo group, each a process of its own, started in a moment.

The processes are forks of one server that has imported torch, transformers and DeepSpeed already;
the first group of a test run waits for it (about ten seconds). Functions and their arguments cross
by reference and pickle: both belong to tests only. Knows nothing of what it runs.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from types import TracebackType
from typing import Any, Self

PRELOADED = [
    "tests.tiny",
    "trsp.selection.ranking",
    "trsp.transfer",
    "transformers.models.llama.modeling_llama",
]


@dataclass(frozen=True)
class Outcome:
    """How a rank ended."""

    value: Any  # what the function returned
    error: str | None  # its traceback
    exitcode: int  # -9 after a SIGKILL

    @property
    def ended_well(self) -> bool:
        return self.error is None and self.exitcode == 0


def on_ranks(
    world_size: int, function: Callable[..., Any], *args: Any, timeout_s: float = 120
) -> list[Any]:
    """Return what ``function(*args)`` returns on every rank, in rank order.

    AssertionError, with all tracebacks, where a rank failed.

    ``function`` belongs to a module's top level. It finds RANK, LOCAL_RANK, WORLD_SIZE,
    MASTER_ADDR and MASTER_PORT set, and joins the group through the engine or
    ``trsp.engine.deepspeed_runtime.init_distributed``.
    """
    with Gang(world_size, function, *args) as gang:
        outcomes = gang.join(timeout_s)
    failed = [
        f"rank {rank} (exit code {each.exitcode}):\n{each.error}"
        for rank, each in enumerate(outcomes)
        if not each.ended_well
    ]
    assert not failed, "\n".join(failed)
    return [outcome.value for outcome in outcomes]


class Gang:
    """Ranks that run and may be killed. A context manager: leaving it kills what still runs."""

    def __init__(self, world_size: int, function: Callable[..., Any], *args: Any) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        group = {
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
        }
        self._ranks: list[tuple[ForkServerProcess, Connection]] = []
        for rank in range(world_size):
            here, there = context.Pipe(duplex=False)
            environment = group | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            process = context.Process(
                target=_rank, args=(there, environment, function, args), daemon=True
            )
            process.start()
            there.close()
            self._ranks.append((process, here))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process, pipe in self._ranks:
            if process.is_alive():
                process.kill()
            process.join()
            pipe.close()

    def kill(self, rank: int, signal_number: int = signal.SIGKILL) -> None:
        pid = self._ranks[rank][0].pid
        assert pid is not None
        os.kill(pid, signal_number)

    def join(self, timeout_s: float = 120) -> list[Outcome]:
        """Wait until all ranks have ended, and return how, in rank order.

        Those that have not ended within ``timeout_s`` are killed (exit code -9).
        """
        deadline = time.monotonic() + timeout_s
        return [_outcome(process, pipe, deadline) for process, pipe in self._ranks]


def _outcome(process: ForkServerProcess, pipe: Connection, deadline: float) -> Outcome:
    value, error = None, "it ended without a word"
    try:
        if pipe.poll(max(0.0, deadline - time.monotonic())):
            value, error = pickle.loads(pipe.recv_bytes())
        else:
            error = "it did not end in time"
            process.kill()
    except EOFError:
        pass
    process.join()
    assert process.exitcode is not None
    return Outcome(value, error, process.exitcode)


def _rank(
    pipe: Connection,
    environment: dict[str, str],
    function: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    import torch
    from torch import distributed

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        answer = (function(*args), None)
    except BaseException:
        answer = (None, traceback.format_exc())
    # Tensors by value: otherwise they would be fetched from a process that is gone.
    pipe.send_bytes(pickle.dumps(answer))
    pipe.close()
    if answer[1] is None and distributed.is_initialized():
        distributed.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
