"""Whether a model's files are absent, or only not given: libraries say "no such file" of both.

No torch, no transformers.
"""

from collections.abc import Sequence

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import EntryNotFoundError

from trsp.checkpoints.model_source import local_folder
from trsp.outages import may_pass

_TIMEOUT_S = 10.0


def is_withheld(source: str, revision: str | None, files: Sequence[str]) -> bool:
    """Whether one of a model's files may be where it belongs, though it could not be read.

    To be asked once a library has said that there is none, or could make nothing of those that it
    got. Of a hub: it gives no answer about a file that was not got, or has it. Never without the
    network, where nobody may ask (HF_HUB_OFFLINE). Of a folder: its files cannot be looked at.
    """
    folder = local_folder(source)
    if folder is None:
        return not constants.HF_HUB_OFFLINE and any(
            _hub_withholds(source, revision or "main", file) for file in files
        )
    try:
        for file in folder.iterdir():
            file.stat()
    except OSError as error:
        return may_pass(error)
    return False


def _hub_withholds(source: str, revision: str, file: str) -> bool:
    """Whether a file of the hub is not in the cache, and not known to be absent."""
    if isinstance(try_to_load_from_cache(source, file, revision=revision), str):
        return False
    try:
        get_hf_file_metadata(hf_hub_url(source, file, revision=revision), timeout=_TIMEOUT_S)
    except EntryNotFoundError:
        return False
    except Exception as error:  # those of the HTTP library have no base of ours
        return may_pass(error)
    return True
