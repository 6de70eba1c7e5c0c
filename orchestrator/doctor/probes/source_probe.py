"""The models and texts that a grid names, as this process finds them. Downloads nothing."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.doctor.findings.facts import SourceState

HUB_TIMEOUT_S = 8.0
_END_BYTES = 64 * 1024  # of a file, that are looked at from both ends


@dataclass(frozen=True)
class Source:
    """A model or text to look for: a local path, or the hub id of a model or data set."""

    name: str
    location: str
    kind: str  # local, model or dataset
    revision: str | None = None


def source_states(sources: Iterable[Source]) -> tuple[SourceState, ...]:
    """Return each source as it is found here."""
    return tuple(_local(each) if each.kind == "local" else _on_hub(each) for each in sources)


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
    """Return what the hub, or its cache on this machine, says of a model or data set."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError as HttpError  # type: ignore[attr-defined]

    cached, api = _cached_commit(source), HfApi()
    ask = api.model_info if source.kind == "model" else api.dataset_info
    try:
        commit = ask(source.location, revision=source.revision, timeout=HUB_TIMEOUT_S).sha
    except (OSError, HttpError, ValueError) as error:
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return SourceState(
            source.name, False, cached or "", is_cached=cached is not None, error=text
        )
    return SourceState(source.name, False, commit or "", is_cached=cached is not None)


def _cached_commit(source: Source) -> str | None:
    """Return the commit of the copy that was downloaded to this machine; None without one."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / (
        f"{source.kind}s--{source.location.replace('/', '--')}"
    )
    revision = source.revision or "main"
    ref = folder / "refs" / revision
    if ref.is_file():
        return ref.read_text(encoding="utf-8").strip()
    return revision if (folder / "snapshots" / revision).is_dir() else None
