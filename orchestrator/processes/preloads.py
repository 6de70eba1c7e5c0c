"""What a fork server imports, and the proof that it can still be forked after that.

Only one thread may run in a process that is forked, and no GPU may have been touched: CUDA cannot
be used in the children of a process that has initialised it.
"""

import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress

from orchestrator.processes.kernel import child_can_use_cuda, holds_gpu, threads

LEARNED_BYTES = 1 << 16  # what a pipe holds

# Of a server as it imports, so that no library starts threads for its computations, or one that
# gives back memory now and then. The children have their callers' variables.
QUIET: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}


class UnfitError(Exception):
    """This process has imported what it must not be forked after: it has to go."""

    def __init__(self, modules: Collection[str]) -> None:
        super().__init__(f"not to be preloaded: {', '.join(modules)}")
        self.modules = modules


def import_all(modules: Iterable[str], can_use_cuda: Callable[[], bool] | None = None) -> None:
    """Import modules that can be imported, and prove that this process can be forked.

    UnfitError names those after which it cannot. ``can_use_cuda`` says whether a child can.
    """
    imported = [module for module in modules if module not in sys.modules and _import(module)]
    if imported and not (can_use_cuda or child_can_use_cuda)():
        raise UnfitError(imported)
    gc.collect()
    gc.freeze()  # what is there now is collected, and so copied, by no child


def _import(module: str) -> bool:
    """Import a module; whether that went well. UnfitError: it did, but must not have."""
    try:
        importlib.import_module(module)
    except Exception:  # whatever it is, a process that needs the module meets it, too
        traceback.print_exc()
        return False
    if threads() > 1 or holds_gpu():
        raise UnfitError([module])
    return True


def imported_since(before: Collection[str], prefixes: tuple[str, ...]) -> list[str]:
    """Return the modules that were imported since these, in that order, of these prefixes."""
    return [
        name
        for name, module in list(sys.modules.items())
        if name not in before and name.startswith(prefixes) and getattr(module, "__spec__", None)
    ]


def teller(tells: int, prefixes: tuple[str, ...]) -> Callable[[], None]:
    """Return what tells a server, by a pipe, which modules of these prefixes its child imports."""
    known = set(sys.modules)
    os.set_blocking(tells, False)

    def tell() -> None:
        names = imported_since(known, prefixes)
        known.update(names)
        data = "".join(f"{name}\n" for name in names).encode()
        if data and len(data) <= LEARNED_BYTES:
            with suppress(OSError):
                os.write(tells, data)

    return tell
