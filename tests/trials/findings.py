"""What is wrong with what a trial left: in its store, in MLflow, among temporary files."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from pyarrow import fs as pafs

from orchestrator.grid.schema import load_grid
from orchestrator.run import view_offline
from orchestrator.stages.stage_specs import StageKind
from orchestrator.store.files import StoreFiles
from orchestrator.views.grid_view import Status

OPEN = ("RUNNING", "SCHEDULED")
WITH_RESULTS = {*StageKind, "score"} - {StageKind.RANKING}
LEFTOVERS = ("ranks", "snapshots", "claim.json")  # names that no finished stage has in its folder


def unfinished(grid: Path) -> Iterator[str]:
    """Parts of the grid that are not done."""
    view = view_offline(load_grid(grid))
    for part in (*view.parts, *view.rankings):
        if part.status is not Status.DONE:
            yield f"{type(part).__name__} is {part.status}: {getattr(part, 'reason', '')}"


def orphans(store: str) -> Iterator[str]:
    """Files of the store that no finished stage owns."""
    paths = file_paths(store)
    stages = {path.parts[:3] for path in paths if path.parts[0] == "stages"}
    files = StoreFiles(store)
    for kind, key in sorted((kind, key) for _, kind, key in stages):
        folder = Path("stages", kind, key)
        names = {path.parts[3] for path in paths if path.is_relative_to(folder)}
        yield from (f"{folder}/{name}" for name in names & set(LEFTOVERS))
        yield from (f"{folder}/{name}" for name in names if name.startswith("."))
        stored = files.read_json(f"{folder}/result.json")
        if stored is None and kind in WITH_RESULTS:
            yield f"{folder} has no result"
        kept = (stored or {}).get("files")
        for name in names:
            if name.startswith("files-") and name != kept:
                yield f"{folder}/{name} belongs to no result"
    yield from (str(path) for path in paths if path.parts[0] == "drivers")


def file_paths(store: str) -> list[Path]:
    """The paths of all files of a store, hidden ones too, below its root."""
    fs, root = pafs.LocalFileSystem(), store
    if "://" in store:
        fs, root = pafs.FileSystem.from_uri(store)
    found = fs.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
    return [Path(info.path).relative_to(root) for info in found if info.type == pafs.FileType.File]


def open_runs(database: str, experiment: str) -> Iterator[str]:
    """Runs that are not closed, that have not finished, or of which there are two."""
    client = MlflowClient(database)
    found = client.get_experiment_by_name(experiment)
    assert found is not None, f"no experiment {experiment}"
    counts: Counter[tuple[str, str]] = Counter()
    for run in client.search_runs([found.experiment_id], max_results=10_000):
        tags = run.data.tags
        kind = tags.get("trsp.kind", "?")
        counts[kind, tags.get(f"trsp.{kind}", "?")] += 1
        if run.info.status != "FINISHED":
            yield f"run {run.info.run_name} of kind {kind} is {run.info.status}"
    yield from (f"{count} runs of {of}" for of, count in counts.items() if count > 1)


def claims(store: str) -> Iterator[str]:
    """Stages that somebody holds, and results that were committed more than once."""
    logs: dict[str, list[str]] = {}
    files = StoreFiles(store)
    for path in sorted(file_paths(store)):
        if path.parts[3:4] == ("claims",) and not path.name.startswith("."):
            entry = files.read_json(str(path)) or {}
            logs.setdefault(path.parts[2], []).append(entry.get("kind", "unreadable"))
    for key, entries in logs.items():
        if entries[-1] == "claim":
            yield f"{key} is still claimed: {', '.join(entries)}"
        if entries.count("commit") > 1:
            yield f"{key} was committed {entries.count('commit')} times: {', '.join(entries)}"


def rounds_written_twice(log: Path, name: str) -> Iterator[str]:
    """Rounds of rankings of the store ``name`` that were written more than once.

    ``log``: what the S3 server has said of each request.
    """
    counts: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        path = _written(line)
        if f"/{name}/stages/" in path and "/rounds/" in path:
            counts[path] += 1
    for path, count in counts.items():
        if count > 1:
            yield f"{path.partition('/stages/')[2]} was written {count} times"


def _written(line: str) -> str:
    """The path of an object that came to be by a request of the S3 server's log; empty of others.

    Objects are written in one request, or in parts that a last one makes whole.
    """
    method, _, rest = line.partition('"')[2].partition(" ")
    target, _, status = rest.partition(' HTTP/1.1" ')
    path, _, query = target.partition("?")
    whole = method == "PUT" and "partNumber" not in query
    made_whole = method == "POST" and query.startswith("uploadId=")
    return path if (whole or made_whole) and status.startswith("200") else ""


def left_in(folder: Path) -> set[str]:
    """Names of our temporary folders and files."""
    return {path.name for path in folder.iterdir() if path.name.startswith("trsp-")}


def read_results(store: str) -> Mapping[str, Any]:
    """What the stages of a store have left, by name: records without times, and artifacts."""
    files = StoreFiles(store)
    found: dict[str, Any] = {}
    for path in file_paths(store):
        if path.name != "result.json" and "rounds" not in path.parts:
            continue
        stored = files.read_json(str(path))
        kind, key = path.parts[1:3]
        if path.name != "result.json":
            found[f"{key}/{path.stem}"] = _timeless(stored)
        elif kind != "measure":
            found[key] = _timeless(stored["record"])
            found |= _weights(files, path.parent, stored)
        else:
            found[key] = "measured"
    return found


def _weights(files: StoreFiles, folder: Path, stored: Mapping[str, Any]) -> dict[str, bytes]:
    """The weights among a stage's artifacts, by name."""
    if not stored.get("files"):
        return {}
    artifacts = f"{folder}/{stored['files']}"
    return {
        f"{folder.name}/{name}": files.read(f"{artifacts}/{name}") or b""
        for name in files.names(artifacts)
        if name.endswith(".safetensors")
    }


def _timeless(record: Any) -> Any:
    """A record without what it took."""
    if isinstance(record, dict):
        return {name: _timeless(value) for name, value in record.items() if name != "seconds"}
    return record


def differences(store: str, quiet: str, tolerance: float) -> Iterator[str]:
    """Where the results of a store are not those of a quiet run: bit for bit, or within it."""
    one, other = read_results(store), read_results(quiet)
    yield from (f"{name} is in one run only" for name in one.keys() ^ other.keys())
    for name in sorted(one.keys() & other.keys()):
        apart = distance(one[name], other[name])
        if apart > tolerance:
            yield f"{name} differs by {apart:.2g}"


def distance(one: Any, other: Any) -> float:
    """The largest relative difference of two values of the same form; infinite of others."""
    if one == other:
        return 0.0
    if isinstance(one, bytes) and isinstance(other, bytes):
        return _tensor_distance(one, other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return abs(one - other) / max(abs(one), abs(other))
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return max((distance(one[name], other[name]) for name in one), default=0.0)
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max((distance(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    return float("inf")


def _tensor_distance(one: bytes, other: bytes) -> float:
    """The largest difference of any tensor, as a part of its norm."""
    from safetensors.numpy import load

    first, second = load(one), load(other)
    if first.keys() != second.keys():
        return float("inf")
    return max(
        float(abs(first[name] - second[name]).max() / (abs(first[name]).max() or 1.0))
        for name in first
    )
