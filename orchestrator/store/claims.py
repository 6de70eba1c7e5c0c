"""Who works on a stage now: of several drivers on one store, one computes it. Knows no results."""

import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from orchestrator.store.files import StoreFiles, UnreadableRecordError
from orchestrator.store.stage_results import stage_folder

# A claim that was not renewed for so long belongs to a dead driver on another machine.
CLAIM_LIFETIME_S = 60.0


@dataclass(frozen=True)
class Claim:
    """Who works on a stage.

    A local process is looked up by its pid; a remote claim lives as long as it is renewed.
    """

    owner: str
    host: str
    pid: int
    renewed: float  # seconds since the epoch
    process_start: str = ""  # tells the process from a later one with its pid; empty without /proc

    @classmethod
    def mine(cls, owner: str) -> "Claim":
        """The claim of this process, renewed now."""
        pid = os.getpid()
        return cls(owner, socket.gethostname(), pid, time.time(), _process_start(pid))

    def alive(self, now: float) -> bool:
        """Whether the owner still works at the time ``now``, as far as can be known here."""
        if self.host == socket.gethostname() and self.process_start:
            return _process_start(self.pid) == self.process_start
        return now - self.renewed < CLAIM_LIFETIME_S


def _process_start(pid: int) -> str:
    """When a process of this machine began, in clock ticks since boot (proc(5), field 22).

    Empty when there is no such process.
    """
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]


_CLAIM = TypeAdapter(Claim)


class Claims:
    """Claims of drivers on stages: one file per claimed stage, ``claim.json``."""

    def __init__(self, files: StoreFiles) -> None:
        self._files = files

    def take(self, key: str, owner: str) -> Claim | None:
        """Take a stage for ``owner``.

        Returns None when it is ours now, or else the living claim of somebody else. Exact on a file
        system. On an object store two drivers that start within the same second may both win; they
        then do equal work, and either result is right.
        """
        while True:
            held = self.holder(key)
            if held and held.owner != owner and held.alive(time.time()):
                return held
            if not self._files.is_local or (held and held.owner == owner):
                self.renew(key, owner)
                return None
            if self._replace(key, owner, held):
                return None

    def holder(self, key: str) -> Claim | None:
        """The claim on a stage, alive or dead; None where there is none, or an unreadable one."""
        return self._read(_path(key))

    def held_by_others(self, owner: str) -> dict[str, Claim]:
        """The living claims of all drivers but ``owner``, by stage."""
        if self._files.is_local:
            paths = self._files.local_path("stages").glob("*/*/claim.json")
            keys = [path.parent.name for path in paths]
        else:
            kinds = self._files.names("stages")
            keys = [key for kind in kinds for key in self._files.names(f"stages/{kind}")]
        now, claims = time.time(), {key: self.holder(key) for key in keys}
        return {
            key: claim
            for key, claim in claims.items()
            if claim and claim.owner != owner and claim.alive(now)
        }

    def renew(self, key: str, owner: str) -> None:
        """Write the claim of ``owner`` as of now, over any other."""
        self._files.write_json(_path(key), asdict(Claim.mine(owner)))

    def release(self, key: str) -> None:
        """Delete the claim on a stage, if there is one."""
        with suppress(FileNotFoundError):
            self._files.remove_file(_path(key))

    def _replace(self, key: str, owner: str, held: Claim | None) -> bool:
        """Claim a stage that had no claim but ``held``, a dead or unreadable one.

        Returns whether it is ours; where not, the claim is to be looked at again. A hard link is
        made whole, and only where nothing stands yet; of two that move a file away, one finds it
        gone.
        """
        draft = f"{stage_folder(key)}/.claim.json.{uuid.uuid4().hex[:8]}"
        self._files.write_json(draft, asdict(Claim.mine(owner)))
        claim, mine = self._files.local_path(_path(key)), self._files.local_path(draft)
        try:
            claim.hardlink_to(mine)
            return True
        except FileExistsError:
            with suppress(FileNotFoundError, FileExistsError):
                claim.replace(mine)
                if self._read(draft) != held:  # somebody was faster, and this is theirs
                    claim.hardlink_to(mine)
            return False
        except OSError:  # a file system without hard links: as on an object store
            self.renew(key, owner)
            return True
        finally:
            mine.unlink(missing_ok=True)

    def _read(self, path: str) -> Claim | None:
        try:
            return _CLAIM.validate_python(self._files.read_json(path))
        except (UnreadableRecordError, ValidationError):
            return None


def _path(key: str) -> str:
    return f"{stage_folder(key)}/claim.json"
