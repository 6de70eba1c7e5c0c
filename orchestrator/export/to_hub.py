"""A checkpoint as a repository of a model hub. Needs the network and a token of the hub's."""

from typing import Any, Protocol

from orchestrator.export.checkpoint import Checkpoint
from orchestrator.redact import redact
from trsp.errors import InvalidInputError, UnreachableError, first_line


class Hub(Protocol):
    """What is needed of ``huggingface_hub.HfApi``."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make a repository, unless it is there; give its address."""

    def upload_folder(self, **what: Any) -> Any:
        """Upload a folder as one commit."""

    def upload_file(self, **what: Any) -> Any:
        """Upload a file as one commit."""


def push(checkpoint: Checkpoint, repo: str, public: bool, hub: Hub | None = None) -> str:
    """Upload a checkpoint and its card to a repository, private unless asked; return its address.

    ``hub``: default that of HF_ENDPOINT, with the token of HF_TOKEN or of ``hf auth login``. A
    repository that is there stays as private as it is. UnreachableError where the hub gives no
    answer, InvalidInputError where it refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api: Any = hub or HfApi()
    message = f"{checkpoint.cell.cell.name} of trsp"
    try:
        address = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(
            repo_id=repo,
            folder_path=checkpoint.folder,
            commit_message=message,
            ignore_patterns=["README.md"],
        )
        card = checkpoint.card.encode()
        api.upload_file(
            repo_id=repo, path_or_fileobj=card, path_in_repo="README.md", commit_message=message
        )
    except (HfHubHTTPError, HFValidationError) as error:
        raise InvalidInputError(
            f"the hub refuses {repo!r}: {redact(first_line(error))}; give --push USER/NAME, and a "
            "token that may write in HF_TOKEN"
        ) from None
    except OSError as error:
        raise UnreachableError(
            f"the hub gives no answer: {redact(first_line(error))}; try again, or --to FOLDER"
        ) from None
    return str(address)
