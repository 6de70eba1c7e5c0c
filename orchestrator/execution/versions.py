"""What software and hardware this process computes with. Recorded beside results, never hashed."""

import platform
from collections.abc import Iterable, Mapping
from functools import cache

from trsp.versions import library_versions

LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "deepspeed",
    "lm_eval",
)


def versions() -> dict[str, str]:
    """Return versions by name: of Python, the libraries, CUDA, and the device's own name.

    A library that is not installed is left out, and CUDA where there is none; ``device`` is the
    first GPU of the process, or ``cpu``.
    """
    import torch

    found = {"python": platform.python_version(), **_installed()}
    if torch.version.cuda:
        found["cuda"] = torch.version.cuda
    found["device"] = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return found


@cache
def _installed() -> dict[str, str]:
    """Return the installed libraries' versions, which are read from files: 40 ms in all."""
    return library_versions(LIBRARIES)


def merged(several: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the versions by which a result was computed in parts: ``2.9.0, 2.10.0`` where mixed.

    Each version stands once, in the order of the parts; no parts, no versions.
    """
    found: dict[str, list[str]] = {}
    for each in several:
        for name, text in each.items():
            seen = found.setdefault(name, [])
            seen += [part for part in text.split(", ") if part not in seen]
    return {name: ", ".join(seen) for name, seen in found.items()}
