"""The models and texts that a grid names, as this process finds them. Downloads nothing."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.doctor.findings.facts import SourceState
from orchestrator.stages.hub_files import HubRepo, cached_commit, hub_files
from trsp.errors import InvalidInputError, UnreachableError

_END_BYTES = 64 * 1024  # of a file, that are looked at from both ends


@dataclass(frozen=True)
class Source:
    """A model or text to look for: a local path, or the hub id of a model or data set."""

    name: str
    location: str
    kind: str  # local, model or dataset
    revision: str | None = None


def source_states(sources: Iterable[Source]) -> tuple[SourceState, ...]:
    """Return each source as it is found here; the hub is asked for all of its own at once.

    Its requests end by themselves. A file system may hang for ever, so it is read in this thread,
    which the caller may leave behind.
    """
    found = tuple(sources)
    on_hub = [each for each in found if each.kind != "local"]
    with ThreadPoolExecutor(max(1, len(on_hub))) as pool:
        answers = dict(zip(on_hub, pool.map(_on_hub, on_hub), strict=True))
    return tuple(answers[each] if each in answers else _local(each) for each in found)


def _local(source: Source) -> SourceState:
    """Return a file, or a folder with all its files, by sizes and by both ends of every file."""
    path = Path(source.location).expanduser()
    try:
        files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
        if not files:
            return SourceState(source.name, True, error=f"there is no {path}")
        whole, size_bytes = hashlib.sha256(), 0
        for file in files:
            size_bytes += file.stat().st_size
            whole.update(f"{file.relative_to(path.parent).as_posix()}\0".encode() + _ends(file))
    except OSError as error:
        return SourceState(source.name, True, error=str(error))
    return SourceState(source.name, True, whole.hexdigest()[:12], size_bytes)


def _ends(file: Path) -> bytes:
    """Return a file's size and its first and last bytes."""
    size_bytes = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(_END_BYTES)
        stream.seek(max(0, size_bytes - _END_BYTES))
        return f"{size_bytes}\0".encode() + first + stream.read(_END_BYTES)


def _on_hub(source: Source) -> SourceState:
    """Return the commit that the hub names, asked as a run asks it, or why a run would end here.

    A run goes on without the hub where its copy of the commit was downloaded before; the driver,
    which must know what a branch means, does not.
    """
    kind: Literal["model", "dataset"] = "model" if source.kind == "model" else "dataset"
    repo = HubRepo(kind, source.location, source.revision or "main")
    try:
        return SourceState(source.name, False, hub_files(repo).commit)
    except UnreachableError as error:
        commit = cached_commit(repo) or ""
        is_cached = bool(commit) and (repo.cache / "snapshots" / commit).is_dir()
        return SourceState(source.name, False, commit, is_cached=is_cached, error=str(error))
    except InvalidInputError as error:
        return SourceState(source.name, False, error=str(error))
