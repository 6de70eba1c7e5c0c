"""Which errors are outages, and which of reading may pass. They are those of the libraries."""

import errno
import os
import socket

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

from trsp.errors import StoreError, UnreachableError
from trsp.outages import is_outage, may_pass

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


def errored(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    "error",
    [
        errored(errno.ESTALE),
        errored(errno.EIO),
        errored(errno.ECONNREFUSED),
        socket.gaierror(-3, "Temporary failure in name resolution"),
        UnreachableError("the hub gives no answer"),
        HfHubHTTPError("503 Server Error", response=BUSY),
        HfHubHTTPError("429 Client Error", response=httpx.Response(429, request=REQUEST)),
        caused(ValueError("could not load"), httpx.ReadTimeout("timed out")),
        OSError("There was a specific connection error when trying to load org/m:\n503"),
        OSError(
            "When reading information for key 'x' in bucket 'b': AWS Error NETWORK_CONNECTION "
            "during HeadObject operation: curlCode: 7, Could not connect to server"
        ),
        OSError("When getting information for key 'x': AWS Error UNKNOWN (HTTP status 503)"),
        OSError("AWS Error SLOW_DOWN during PutObject operation: Please reduce your request rate."),
    ],
    ids=lambda error: str(error)[:30],
)
def test_who_gives_no_answer_is_away(error: Exception) -> None:
    assert is_outage(error)


@pytest.mark.parametrize(
    "error",
    [
        errored(errno.ENOSPC),
        errored(errno.EACCES),
        errored(errno.ENOENT),
        errored(errno.EROFS),
        ValueError("connection refused"),
        HfHubHTTPError("403", response=httpx.Response(403, request=REQUEST)),
        HfHubHTTPError("404", response=ABSENT),
        RepositoryNotFoundError("404", response=ABSENT),
        OSError("AWS Error ACCESS_DENIED during PutObject operation: Access Denied"),
        OSError("AWS Error NO_SUCH_BUCKET during PutObject operation"),
        StoreError("store 'x' does not give back what was written to it"),
        ConnectionError("Couldn't reach 'x' on the Hub (OfflineModeIsEnabled)"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_who_answers_is_there(error: Exception) -> None:
    assert not is_outage(error)
