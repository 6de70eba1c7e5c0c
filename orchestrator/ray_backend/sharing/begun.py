"""How a process of a stage tells the driver that it runs, and where, without a store.

It writes an entry whose name says it all to the key-value store of Ray's control service;
the driver reads the names of all of its entries at once.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import ray
from ray._private.state import jobs
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_list, _internal_kv_put

NAMESPACE = "trsp"
_COMPUTES = "computes"
_DONE = "done"
_PROGRESS = "progress"
_GPUS = "gpus"


@dataclass(frozen=True)
class Sign:
    """What the processes of one attempt at a stage tell its driver. It travels to them."""

    prefix: str  # of the names of its entries

    def placed(self, rank: int = 0) -> None:
        """Say on which node this process of this rank was started, and which GPUs it has there."""
        self._put(f"{rank}/{ray.get_runtime_context().get_node_id()}")
        if gpus := ",".join(map(str, ray.get_gpu_ids())):
            self._put(f"{_GPUS}/{rank}/{gpus}")

    def computes(self, key: str = "") -> None:
        """Say that the stage has its devices and computes; ``key``: which, where several follow."""
        self._put(f"{_COMPUTES}/{key}")

    def done(self, key: str) -> None:
        """Say that this one of several stages is committed, while its process goes on."""
        self._put(f"{_DONE}/{key}")

    def progress(self, key: str, words: str, number: int, instead_of: str = "") -> str:
        """Say how far a stage has come, in words; return the entry, to be given the next time.

        Of several entries that with the highest ``number`` counts.
        """
        entry = f"{_PROGRESS}/{number}/{key}/{words}"
        self._put(entry)
        if instead_of:
            _internal_kv_del(self.prefix + instead_of, namespace=NAMESPACE)
        return entry

    def _put(self, name: str) -> None:
        _internal_kv_put(self.prefix + name, b"1", namespace=NAMESPACE)


@dataclass(frozen=True)
class Begun:
    """How far the processes of one attempt have come, as far as they have said."""

    computes: bool
    nodes: Mapping[int, str]  # the ids of the nodes that they run on, by rank
    # Where stages follow one another in the process, their keys:
    computed: frozenset[str] = frozenset()  # those whose turn has come
    done: frozenset[str] = frozenset()  # those that are committed
    progress: Mapping[str, str] = field(default_factory=dict)  # in words, by the stage's key
    gpus: Mapping[int, str] = field(default_factory=dict)  # "0,1": those of a rank on its node


NOT_BEGUN = Begun(False, {})


class Signs:
    """The signs of all attempts of one launcher."""

    def __init__(self) -> None:
        self._prefix = f"{ray.get_runtime_context().get_job_id()}-{uuid.uuid4().hex}/"
        self._number = 0
        _sweep()

    def new(self) -> Sign:
        """Return the sign of another attempt."""
        self._number += 1
        return Sign(f"{self._prefix}{self._number}/")

    def read(self, signs: Iterable[Sign]) -> dict[Sign, Begun]:
        """Return what has been said under these signs, by one request; what has not is left out."""
        said: dict[str, list[str]] = {}
        for entry in _internal_kv_list(self._prefix, namespace=NAMESPACE):
            prefix, name = _parts(entry.decode())
            said.setdefault(prefix, []).append(name)
        return {sign: _begun(said[sign.prefix]) for sign in signs if sign.prefix in said}

    def forget(self, sign: Sign) -> None:
        """Remove what was said by an attempt that has ended."""
        _internal_kv_del(sign.prefix, del_by_prefix=True, namespace=NAMESPACE)


def _sweep() -> None:
    """Remove what was said to drivers that are gone."""
    entries = _internal_kv_list("", namespace=NAMESPACE)
    # Only now, or what is said to a driver that comes meanwhile would be taken for a dead one's.
    alive = {job["JobID"] for job in jobs() if not job["IsDead"]}
    for entry in entries:
        if entry.decode().partition("-")[0] not in alive:
            _internal_kv_del(entry, namespace=NAMESPACE)


def _parts(entry: str) -> tuple[str, str]:
    """Return an entry's sign and what it says: ``LAUNCHER/7/`` and ``0/NODE``."""
    launcher, number, name = entry.split("/", 2)
    return f"{launcher}/{number}/", name


def _begun(names: Iterable[str]) -> Begun:
    """Return what entries of these names say.

    They are ``computes/KEY``, ``done/KEY``, ``progress/NUMBER/KEY/WORDS``, ``gpus/RANK/INDICES``
    and ``RANK/NODE``.
    """
    said: dict[str, set[str]] = {}
    for name in names:
        what, _, which = name.partition("/")
        said.setdefault(what, set()).add(which)
    computed, done = said.pop(_COMPUTES, None), said.pop(_DONE, set())
    progress, gpus = _progress(said.pop(_PROGRESS, ())), _by_rank(said.pop(_GPUS, ()))
    nodes = {int(rank): node for rank, ids in said.items() for node in ids}
    keys = frozenset(filter(None, computed or ()))
    return Begun(computed is not None, nodes, keys, frozenset(done), progress, gpus)


def _progress(said: Iterable[str]) -> dict[str, str]:
    """Return the words of each stage that came last, by key: of ``NUMBER/KEY/WORDS``."""
    in_order = sorted(said, key=lambda entry: int(entry.partition("/")[0]))
    parted = (entry.split("/", 2) for entry in in_order)
    return {key: words for _, key, words in parted}


def _by_rank(said: Iterable[str]) -> dict[int, str]:
    """Return what is said of each rank: of ``RANK/WHAT``."""
    parted = (each.partition("/") for each in said)
    return {int(rank): what for rank, _, what in parted}
