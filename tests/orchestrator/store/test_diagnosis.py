"""From an error, or from those of many ranks, to one class and one line.

Errors are real ones of the libraries where they can be had here, and their words where they cannot.
"""

import errno
import os

import pytest
import ray.exceptions
import torch

from orchestrator.store.diagnosis import (
    classify,
    classify_words,
    failure_of,
)
from orchestrator.store.failures import FailureKind
from trsp.errors import (
    CalibrationTooShortError,
    InvalidInputError,
    PreemptedError,
    StoreError,
    TrainingDivergedError,
    UnreachableError,
)

K = FailureKind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), K.OUT_OF_MEMORY),
        (MemoryError(), K.OUT_OF_MEMORY),
        (
            ray.exceptions.OutOfMemoryError(
                "Task was killed due to the node running low on memory."
            ),
            K.OUT_OF_MEMORY,
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
            ),
            K.OUT_OF_MEMORY,
        ),
        (
            RuntimeError(
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
            ),
            K.OUT_OF_MEMORY,
        ),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), K.OUT_OF_MEMORY),
        (TrainingDivergedError("gates became [nan]"), K.DIVERGED),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), K.DISK_FULL),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), K.DISK_FULL),
        (
            StoreError("store '/s' cannot be written: [Errno 28] No space left on device"),
            K.DISK_FULL,
        ),
        (PreemptedError("the node goes"), K.PREEMPTED),
        (
            RuntimeError(
                "[../gloo/transport/tcp/unbound_buffer.cc:81] "
                "Timed out waiting 1800000ms for recv operation"
            ),
            K.HUNG,
        ),
        (
            RuntimeError(
                "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:34567"
            ),
            K.LOST,
        ),
        (torch.distributed.DistNetworkError("Connection reset by peer"), K.LOST),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), K.UNREACHABLE),
        (ray.exceptions.WorkerCrashedError(), K.LOST),
        (ray.exceptions.NodeDiedError("node 1"), K.NODE_LOST),
        (InvalidInputError("no such model"), K.BAD_INPUT),
        (CalibrationTooShortError("text 'wiki' is too short"), K.BAD_INPUT),
        (StoreError("transfer-1 has no files"), K.BAD_INPUT),
        (ValueError("a sequence of 3 is not 4"), K.BAD_INPUT),
        (UnreachableError("the hub gives no answer"), K.UNREACHABLE),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), K.UNREACHABLE),
        (OSError("AWS Error NETWORK_CONNECTION during HeadObject operation"), K.UNREACHABLE),
        (OSError("AWS Error ACCESS_DENIED during HeadObject operation"), K.UNKNOWN),
        (UnreachableError("model 'm' cannot be read: No space left on device"), K.DISK_FULL),
        (KeyError("layers"), K.UNKNOWN),
        (AssertionError(), K.UNKNOWN),
        (FileNotFoundError(errno.ENOENT, "no such file"), K.UNKNOWN),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_the_class_of_an_error(error: BaseException, kind: FailureKind) -> None:
    assert classify(error) is kind


def test_memory_that_really_runs_out() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert classify(caught.value) is K.OUT_OF_MEMORY


def test_a_disk_that_is_really_full() -> None:
    with (
        pytest.raises(OSError, match="No space left") as caught,
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")
    assert classify(caught.value) is K.DISK_FULL


def test_what_an_error_was_made_of_outweighs_it() -> None:
    made = ValueError("the layer could not be run")
    made.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    assert classify(made) is K.OUT_OF_MEMORY
    under = KeyError("cleaning up")
    under.__context__ = OSError(errno.ENOSPC, "No space left on device")
    assert classify(under) is K.DISK_FULL
    under.__suppress_context__ = True  # raise ... from None
    assert classify(under) is K.UNKNOWN


def test_what_a_library_made_of_an_outage_is_one() -> None:
    made = ValueError("cannot find the data set in the cache")
    made.__cause__ = TimeoutError("timed out")
    assert classify(made) is K.UNREACHABLE
    diverged = TrainingDivergedError("the loss is nan")
    diverged.__context__ = TimeoutError("timed out")
    assert classify(diverged) is K.DIVERGED


def test_an_error_of_another_process_is_known_by_its_words() -> None:
    assert classify_words("OutOfMemoryError", "") is K.OUT_OF_MEMORY
    assert (
        classify_words("SafetensorError", "I/O error: No space left on device (os error 28)")
        is K.DISK_FULL
    )
    assert classify_words("DistBackendError", "NCCL error: unhandled system error") is K.LOST
    assert (
        classify_words(
            "RuntimeError", "Watchdog caught collective operation timeout: WorkNCCL(...)"
        )
        is K.HUNG
    )
    assert classify_words("SomethingNew", "boom") is K.UNKNOWN


def test_the_record_of_an_error() -> None:
    failure = failure_of(KeyError("layers"), "Traceback ...", {"ranks": 2})
    assert (failure.error, failure.message, failure.kind) == ("KeyError", "'layers'", K.UNKNOWN)
    assert failure.when > 0
    assert failure_of(AssertionError()).message == "AssertionError"
    assert failure_of(RuntimeError("one\ntwo")).line == "RuntimeError: one"
