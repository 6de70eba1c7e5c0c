"""Weights as transformers reads them: safetensors alone, complete, and its errors in our words."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM

from trsp.checkpoints.completeness import check_complete
from trsp.checkpoints.model_source import local_folder, source_path
from trsp.checkpoints.weight_headers import INDEX, SINGLE, no_safetensors
from trsp.checkpoints.withheld import is_withheld
from trsp.errors import InvalidInputError, TrspError, UnreachableError
from trsp.outages import may_pass

Place = torch.device | Literal["auto"]
_NO_CONVERSION = "DISABLE_SAFETENSORS_CONVERSION"  # transformers reads it before every download
# In what transformers says of tensors that do not fit the config, and of files that the hub lacks.
_MISMATCH = "ignore_mismatched_sizes"
_NO_SUCH_FILE = "does not appear to have a file named"


def read_model(source: str, revision: str | None, dtype: torch.dtype, place: Place) -> Any:
    """The model with its weights, all of them. InvalidInputError where some cannot be read.

    UnreachableError where another attempt may read them.
    """
    try:
        model, report = _from_safetensors(source, revision, dtype, place)
    except (OSError, SafetensorError, ValueError) as error:
        if _NO_SUCH_FILE in str(error):
            if is_withheld(source, revision, (SINGLE, INDEX)):
                raise _away(f"the weights of {source!r}", error) from error
            raise no_safetensors(source) from error
        raise unreadable(
            error, f"the weights of {source!r}", "download or export them again"
        ) from error
    except RuntimeError as error:
        if _MISMATCH not in str(error):
            raise
        raise InvalidInputError(
            f"the weights of {source!r} are not of the sizes that its config.json says: {error}; "
            "take both from one checkpoint"
        ) from error
    check_complete(model, source, report["missing_keys"], report["unexpected_keys"])
    return model


def _from_safetensors(
    source: str, revision: str | None, dtype: torch.dtype, place: Place
) -> tuple[Any, dict[str, Any]]:
    """What transformers reads, and its report, of the safetensors of the revision asked for.

    Weights go straight to the device ``place``; ``auto`` spreads them over all GPUs.
    """
    with _as_published():
        model, report = AutoModelForCausalLM.from_pretrained(
            source_path(source),
            revision=revision or "main",
            dtype=dtype,
            device_map=place if place == "auto" else {"": place},
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=local_folder(source) is not None,
            output_loading_info=True,
        )
    return model, report


@contextmanager
def _as_published() -> Iterator[None]:
    """While open, transformers takes no weights but those of the revision that it is asked for.

    For a repository without safetensors it would have a robot convert the pickles, and load that.
    """
    before = os.environ.get(_NO_CONVERSION)
    os.environ[_NO_CONVERSION] = "1"
    try:
        yield
    finally:
        os.environ.pop(_NO_CONVERSION)
        if before is not None:
            os.environ[_NO_CONVERSION] = before


def unreadable(
    error: Exception, what: str, cure: str, *, withheld: Callable[[], bool] = lambda: False
) -> TrspError:
    """The refusal of what could not be read; one that may pass where the ``error`` may.

    ``withheld``, asked where it may not, says whether what was to be read is there all the same.
    """
    if may_pass(error) or withheld():
        return _away(what, error)
    return InvalidInputError(f"{what} cannot be read: {error}; {cure}")


def _away(what: str, error: Exception) -> UnreachableError:
    return UnreachableError(f"{what} cannot be read now: {error}; try again")
