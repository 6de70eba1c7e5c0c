"""Which version this is, and of the libraries that compute results. Imports none of them."""

from importlib.metadata import PackageNotFoundError, version

# What a result may depend on, by the names under which package indexes know it.
LIBRARIES = (
    "torch",
    "transformers",
    "deepspeed",
    "tokenizers",
    "datasets",
    "lm-eval",
    "peft",
    "accelerate",
    "safetensors",
)

_DISTRIBUTION = "trsp-orchestrator"
UNKNOWN = "0+unknown"  # of a copy of the files that nobody has installed


def own_version() -> str:
    """Return the installed version of these packages, or ``UNKNOWN``."""
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return UNKNOWN


def library_versions(names: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the installed version of each library by its name; one that is absent is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
