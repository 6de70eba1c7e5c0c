"""A hub on this machine: what a repository holds at each commit, over the hub's own API.

Only what looking up and downloading a model or data set needs. A test may let it fail.
"""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from huggingface_hub import close_session

LARGE = (".safetensors", ".parquet")  # kept in LFS, known by sha256


def commit_of(number: int) -> str:
    """Return the name of a repository's ``number``-th commit."""
    return f"{number:040x}"


@dataclass
class HubServer:
    """Repositories by ``models/NAME`` or ``datasets/NAME``, each a list of commits, oldest first.

    A commit is its files: bytes by path. ``failures``: how many requests are answered 503 before
    the next is answered well.
    """

    commits: dict[str, list[Mapping[str, bytes]]] = field(default_factory=dict)
    failures: int = 0
    away: str = ""  # what is in the path of requests that are answered 503; "" for none
    asked: list[str] = field(default_factory=list)  # paths of all requests so far
    sent: list[tuple[str, int]] = field(default_factory=list)  # names and bytes of files
    delay_s: float = 0.0  # before each file
    url: str = ""

    def push(self, repo: str, files: Mapping[str, bytes]) -> str:
        """Add a commit with these files and no others. Return its name."""
        self.commits.setdefault(repo, []).append(dict(files))
        return commit_of(len(self.commits[repo]))

    def files(self, repo: str, revision: str) -> tuple[str, Mapping[str, bytes]] | None:
        """Return the commit of a revision with its files; None where there is none."""
        history = self.commits.get(repo, [])
        number = len(history) if revision == "main" else int(revision, 16)
        return (commit_of(number), history[number - 1]) if 0 < number <= len(history) else None


def etag(path: str, data: bytes) -> str:
    """Return what the hub calls a file's hash: sha256 of a large one, else its git blob id."""
    if path.endswith(LARGE):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    """Return a file as a listing of a folder has it."""
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": 40 * "0"}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": etag(path, data), "size": len(data), "pointerSize": 1}
    return entry


def _folder_entries(files: Mapping[str, bytes], folder: str) -> list[dict[str, Any]]:
    """Return what is in a folder, without what is in the folders in it; empty: the root."""
    prefix = f"{folder}/" if folder else ""
    inside = [path for path in files if path.startswith(prefix)]
    folders = {
        prefix + path.removeprefix(prefix).split("/")[0]
        for path in inside
        if "/" in path.removeprefix(prefix)
    }
    here = [path for path in inside if "/" not in path.removeprefix(prefix)]
    return [
        *({"type": "directory", "path": path, "oid": 40 * "0"} for path in sorted(folders)),
        *(_entry(path, files[path]) for path in here),
    ]


def _sibling(path: str, data: bytes) -> dict[str, Any]:
    lfs = {"sha256": etag(path, data), "size": len(data), "pointerSize": 1}
    return {
        "rfilename": path,
        "size": len(data),
        "blobId": hashlib.sha1(data, usedforsecurity=False).hexdigest()
        if path.endswith(LARGE)
        else etag(path, data),
        "lfs": lfs if path.endswith(LARGE) else None,
    }


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.hub.asked.append(path)
        if self.hub.failures:
            self.hub.failures -= 1
            self._answer(503, b"", {})
        elif self.hub.away and self.hub.away in path:
            self._answer(503, b"", {})
        elif "/tree/" in path:
            repo, _, rest = path.removeprefix("api/").partition("/tree/")
            revision, _, folder = rest.partition("/")
            self._send(_folder_entries(self._files(repo, revision), unquote(folder)))
        elif path.startswith("api/"):
            repo, _, revision = path.removeprefix("api/").partition("/revision/")
            self._listing(repo, revision or "main")
        else:
            repo, _, rest = path.partition("/resolve/")
            repo = repo if repo.startswith("datasets/") else f"models/{repo}"
            revision, _, name = rest.partition("/")
            self._file(repo, revision, name)

    def do_POST(self) -> None:
        """Answer which of the paths that are asked about are files or folders."""
        path = self.path.partition("?")[0].strip("/")
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = parse_qs(body).get("paths", [])
        files = self._files(*path.removeprefix("api/").split("/paths-info/"))
        self._send(
            [
                entry
                for path in asked
                for entry in _folder_entries(files, path.rpartition("/")[0])
                if entry["path"] == path
            ]
        )

    def _files(self, repo: str, revision: str) -> Mapping[str, bytes]:
        found = self.hub.files(repo, revision)
        return found[1] if found else {}

    def _send(self, value: Any) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _listing(self, repo: str, revision: str) -> None:
        found = self.hub.files(repo, revision)
        if found is None:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [_sibling(*each) for each in found[1].items()]
        name = repo.partition("/")[2]
        self._send({"id": name, "sha": found[0], "siblings": siblings, "private": False})

    def _file(self, repo: str, revision: str, name: str) -> None:
        found = self.hub.files(repo, revision)
        data = found and found[1].get(name)
        if not found or data is None:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if self.command == "GET":
            time.sleep(self.hub.delay_s)
            self.hub.sent.append((name, len(data)))
        headers = {"X-Repo-Commit": found[0], "ETag": f'"{etag(name, data)}"'}
        self._answer(200, data, headers)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def served(hub: HubServer) -> Iterator[None]:
    """Let the hub answer at its ``url``, for who has it as HF_ENDPOINT."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def hub_server(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Let this process use a new, empty hub, with ``cache`` as the hub's local cache."""
    hub = HubServer()
    stack = ExitStack()
    stack.enter_context(served(hub))
    # First, for it reads the others when it is imported, and would keep them.
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_ENDPOINT", hub.url)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache / "datasets")
    for name, value in {
        "HF_HUB_OFFLINE": False,
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
        "HF_HUB_CACHE": str(cache),
    }.items():
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
    monkeypatch.setattr("orchestrator.stages.hub_files._WAITS_S", (0.0, 0.0))
    close_session()  # one that was made offline stays so
    try:
        yield hub
    finally:
        close_session()
        stack.close()
