"""Which errors of reading may be gone at the next attempt. They are those of the libraries."""

import errno
import os

import httpx2 as httpx
import pytest
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError

from trsp.errors import may_pass

REQUEST = httpx.Request("GET", "https://huggingface.co/x")
BUSY = httpx.Response(503, request=REQUEST)
ABSENT = httpx.Response(404, request=REQUEST)


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ESTALE, os.strerror(errno.ESTALE)),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        TimeoutError(),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        httpx.ConnectTimeout("timed out"),
        httpx.ConnectError("[Errno -3] Temporary failure in name resolution"),
        HfHubHTTPError("503 Server Error", response=BUSY),
        SafetensorError("Error while deserializing: I/O error: Stale file handle (os error 116)"),
        caused(LocalEntryNotFoundError("not in the cache"), httpx.ReadTimeout("timed out")),
        caused(OSError("We couldn't connect to 'https://huggingface.co'"), httpx.ConnectError("")),
    ],
    ids=lambda error: str(error)[:30] or type(error).__name__,
)
def test_no_answer_may_pass(error: Exception) -> None:
    assert may_pass(error)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "not yours"),
        OSError("x does not appear to have a file named config.json"),
        ValueError("no such thing"),
        SafetensorError("Error while deserializing header: header too large"),
        RepositoryNotFoundError("404", response=ABSENT),
        EntryNotFoundError("404"),
        caused(LocalEntryNotFoundError("not in the cache"), OfflineModeIsEnabled("offline")),
        ConnectionError("Couldn't reach 'x' on the Hub (OfflineModeIsEnabled)"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_an_answer_does_not(error: Exception) -> None:
    assert not may_pass(error)
