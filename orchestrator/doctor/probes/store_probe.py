"""The store, used as a run uses it, below a prefix of its own that is thrown away afterwards."""

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from orchestrator.doctor.findings.facts import StoreUse
from orchestrator.store.store import Store

_BY_DRIVER = "from-driver.txt"
_CONTENT = b"trsp doctor\n"
_PAYLOAD = bytes(2**20)  # a MiB: more than a record, less than weights


class OperationFailedError(Exception):
    """An operation of the store did not do what it promises."""


def prefix_uri(store: str, name: str = "") -> str:
    """Return the address of a new prefix of the store, ``doctor-ID``, for all that we write."""
    return Store(store).files.address(name or f"doctor-{uuid.uuid4().hex[:12]}")


def leave_word(prefix: str) -> None:
    """Write, as the driver, what every other place must then see."""
    Store(prefix).files.write(_BY_DRIVER, _CONTENT)


def remove_prefix(prefix: str) -> None:
    """Delete all that was written below the prefix, as far as that is possible."""
    with suppress(OSError):
        files = Store(prefix).files
        for name in files.names(""):
            with suppress(OSError):
                files.remove_folder(name)
            with suppress(OSError):
                files.remove_file(name)
        files.remove_folder("")


def use_store(prefix: str, place: str) -> StoreUse:
    """Use the store from this process, and return what came of it.

    ``place``: a word that names the process among all that use this prefix.
    """
    clock = _Clock()
    try:
        store = Store(prefix)
        sees_driver = clock.timed("read", lambda: store.files.read(_BY_DRIVER)) == _CONTENT
        _write_and_read_back(store, place, clock)
        is_exclusive = clock.timed("claim", lambda: _is_exclusive(store, place))
        clock.timed("remove", lambda: store.files.remove_folder(place))
    except (OSError, OperationFailedError) as error:
        return StoreUse(clock.seconds, failed=clock.operation, error=f"{error}")
    return StoreUse(clock.seconds, sees_driver, is_exclusive)


class _Clock:
    """Remembers how long each operation took, and which was begun last."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.operation = "open"

    def timed(self, operation: str, act: Callable[[], Any]) -> Any:
        """Return what ``act`` returns; its time counts where it raises nothing."""
        self.operation, begun = operation, time.perf_counter()
        result = act()
        self.seconds[operation] = time.perf_counter() - begun
        return result


def _write_and_read_back(store: Store, place: str, clock: _Clock) -> None:
    """Write files, small and large, read and list them. OperationFailedError for a wrong answer."""
    files = store.files
    clock.timed("write", lambda: files.write(f"{place}/small.txt", _CONTENT))
    clock.timed("write 1 MiB", lambda: files.write(f"{place}/large.bin", _PAYLOAD))
    if clock.timed("read 1 MiB", lambda: files.read(f"{place}/large.bin")) != _PAYLOAD:
        raise OperationFailedError("what was written is not what was read back")
    names = clock.timed("list", lambda: files.names(place))
    if names != ["large.bin", "small.txt"]:
        raise OperationFailedError(f"of two files just written, the listing shows {names}")


def _is_exclusive(store: Store, place: str) -> bool:
    """Whether of two writers who create one file, here, only the first does."""
    path = f"{place}/created.txt"
    return store.files.create(path, _CONTENT) and not store.files.create(path, _CONTENT)
