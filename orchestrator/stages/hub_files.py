"""What a hub repository holds at one commit: its files and the hash of each. Reads no file.

A commit never changes, so what the hub said of one is remembered in ``trsp_home()``. Knows no model
or text.
"""

import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from orchestrator.grid.locations import trsp_home
from orchestrator.stages.fingerprints import write_whole
from trsp.errors import InvalidInputError, UnreachableError, first_line

_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT_S = 10.0
_WAITS_S = (1.0, 4.0)  # before the second and the third attempt
_PASSING = frozenset({408, 429})  # of the refusals of a client's request, those that pass
_CURE = (
    "try again; pin a commit ('revision'), which is asked about only once; or set HF_HUB_OFFLINE=1 "
    "to use what is cached here"
)
_T = TypeVar("_T")


@dataclass(frozen=True)
class HubRepo:
    """A repository as it is asked for."""

    kind: Literal["model", "dataset"]
    name: str  # org/name
    revision: str = "main"  # branch, tag or commit

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} (revision {self.revision})"

    @property
    def pinned(self) -> bool:
        """Whether the revision is a commit."""
        return bool(_COMMIT.fullmatch(self.revision))

    @property
    def cache(self) -> Path:
        """The repository's folder in the hub's local cache."""
        from huggingface_hub import constants

        return Path(constants.HF_HUB_CACHE) / f"{self.kind}s--{self.name.replace('/', '--')}"


@dataclass(frozen=True)
class HubFiles:
    """What a repository holds at a commit: sha256 or git blob id of each file, by its path."""

    commit: str
    files: Mapping[str, str]


def hub_files(repo: HubRepo) -> HubFiles:
    """Return the commit that a revision means now, and the files there.

    With HF_HUB_OFFLINE the local cache says what it means, by intent. Else only the hub does: where
    it cannot be reached in three attempts, UnreachableError, and never an older answer or what
    happens to be cached, which would be another key. A commit is asked about once.
    InvalidInputError for what is not there, is gated, or was never downloaded.
    """
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        commit = cached_commit(repo)
        cached = (_remembered(repo, commit) or _cached_files(repo, commit)) if commit else None
        if cached is None:
            raise InvalidInputError(
                f"{repo} was never downloaded here, and HF_HUB_OFFLINE is set, so the hub is not "
                "asked; unset it, check the name, or give a local path"
            )
        return cached
    if repo.pinned and (known := _remembered(repo, repo.revision)):
        return known
    found = asked_of_hub(repo, lambda: _listed(repo))
    _remember(repo, found)
    return found


def asked_of_hub(repo: HubRepo, ask: Callable[[], _T]) -> _T:
    """Return what the hub answers, asked up to three times.

    InvalidInputError when the repository is gated or not there, RemoteEntryNotFoundError when it
    has no such file, UnreachableError when the hub cannot be reached.
    """
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        RemoteEntryNotFoundError,
    )

    # The error of the HTTP library in use, raised where the hub is away.
    http_error: type[Exception] = HfHubHTTPError.__bases__[0]
    for wait_s in (*_WAITS_S, None):
        try:
            return ask()
        except RemoteEntryNotFoundError:
            raise
        except HFValidationError as error:
            raise InvalidInputError(f"{repo}: {error}; check the name") from None
        except (OSError, http_error) as error:
            _refuse_if_final(repo, error)
            last = error
        if wait_s is not None:
            time.sleep(wait_s)
    reason = first_line(last)
    raise UnreachableError(f"{repo}: the hub cannot be reached ({reason}); {_CURE}") from last


def _refuse_if_final(repo: HubRepo, error: Exception) -> None:
    """Raise InvalidInputError where the hub has answered, and would answer the same again."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        raise InvalidInputError(
            f"{repo} is gated; accept its terms on the hub and set HF_TOKEN"
        ) from None
    if isinstance(error, RepositoryNotFoundError | RevisionNotFoundError):
        raise InvalidInputError(
            f"{repo} is neither a local path nor on the hub; check the name and HF_TOKEN"
        ) from None
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if status is not None and 400 <= status < 500 and status not in _PASSING:
        raise InvalidInputError(f"{repo}: the hub refuses ({error}); check the name and HF_TOKEN")


def _listed(repo: HubRepo) -> HubFiles:
    """Return what the hub lists now. A file that it has no hash of is known by the commit."""
    from huggingface_hub import HfApi

    api = HfApi()
    ask = api.model_info if repo.kind == "model" else api.dataset_info
    info = ask(repo.name, revision=repo.revision, timeout=_TIMEOUT_S, files_metadata=True)
    assert info.sha is not None  # the hub names a commit for every revision
    ids = {
        each.rfilename: (each.lfs.sha256 if each.lfs else each.blob_id) or f"commit:{info.sha}"
        for each in info.siblings or ()
    }
    return HubFiles(info.sha, ids)


# --- the local cache -----------------------------------------------------------


def cached_commit(repo: HubRepo) -> str | None:
    """Return the commit that the revision is, or was last seen to mean here; None without one."""
    if repo.pinned:
        return repo.revision
    reference = repo.cache / "refs" / repo.revision
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def _cached_files(repo: HubRepo, commit: str) -> HubFiles | None:
    """Return the files of a commit that are in the cache; None where there are none.

    The cache names each by what the hub calls its hash. What was never downloaded is not seen.
    """
    snapshot = repo.cache / "snapshots" / commit
    files = {
        path.relative_to(snapshot).as_posix(): path.resolve().name
        for path in snapshot.rglob("*")
        if path.is_file()
    }
    return HubFiles(commit, files) if files else None


def _memo(repo: HubRepo, commit: str) -> Path:
    return trsp_home() / "hub" / repo.cache.name / f"{commit}.json"


def _remembered(repo: HubRepo, commit: str) -> HubFiles | None:
    """Return what the hub once said of this commit; None where it was never asked, or in vain."""
    try:
        return HubFiles(**json.loads(_memo(repo, commit).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _remember(repo: HubRepo, found: HubFiles) -> None:
    """Keep the answer for this commit, and in the hub's cache what the revision means now.

    The latter is what a download of the branch would note there; ours are of commits. A cache only:
    what cannot be written is not written.
    """
    with contextlib.suppress(OSError):
        write_whole(_memo(repo, found.commit), json.dumps(asdict(found)))
        if not repo.pinned:
            write_whole(repo.cache / "refs" / repo.revision, found.commit)
