"""TRSP, two-stage regularization-based structured pruning of language models, as a library.

``LanguageModel`` prunes one model in ten lines (docs/library.md); ``trsp.selection``,
``trsp.transfer`` and ``trsp.surgery`` are what it is made of. Names are loaded at first use:
importing ``trsp``, ``trsp.config`` or ``trsp.records`` costs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trsp.config import (
        BlockInfluenceSettings,
        DriftSettings,
        EngineSettings,
        GatesSettings,
        HealSettings,
        LoraSettings,
        NoTransfer,
        RandomSettings,
        ReverseSettings,
        SlebSettings,
        TextSource,
    )
    from trsp.language_model import LanguageModel

    __version__: str

__all__ = [
    "BlockInfluenceSettings",
    "DriftSettings",
    "EngineSettings",
    "GatesSettings",
    "HealSettings",
    "LanguageModel",
    "LoraSettings",
    "NoTransfer",
    "RandomSettings",
    "ReverseSettings",
    "SlebSettings",
    "TextSource",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("trsp.versions").own_version()
    if name not in __all__:
        raise AttributeError(
            f"module 'trsp' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    home = "trsp.language_model" if name == "LanguageModel" else "trsp.config"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
