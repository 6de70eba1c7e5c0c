"""What a model can read: how many tokens in a row, and which ids. By its config.json; no torch."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from trsp.architecture.family_weights import FAMILY_WEIGHTS
from trsp.errors import InvalidInputError

Config = Mapping[str, Any]


class TokenIds(Protocol):
    """Token ids [N, T], as a tensor or array: this module loads no library of these."""

    @property
    def shape(self) -> Sequence[int]: ...
    def max(self) -> Any: ...


def check_tokens(config: Config, tokens_NT: TokenIds, what: str) -> None:
    """Raise InvalidInputError where a model cannot read a row of ``tokens_NT``, which is ``what``.

    A model whose positions are computed reads any number, if not well. Unchecked, an id beyond the
    embedding ends a process in words of no help, and on a GPU all that follows in it.
    """
    check_length(config, tokens_NT.shape[-1], what)
    if 0 in tokens_NT.shape:
        return
    rows, largest_id = int(config["vocab_size"]), int(tokens_NT.max())
    if largest_id >= rows:
        raise InvalidInputError(
            f"{what} holds the token id {largest_id}, but the model's embedding has {rows} rows "
            "(config.json: vocab_size): take the tokenizer of this very checkpoint"
        )


def check_length(config: Config, tokens: int, what: str) -> None:
    """Raise InvalidInputError where ``what`` has more tokens than the model has learned places."""
    positions = learned_positions(config)
    if positions is not None and tokens > positions:
        raise InvalidInputError(
            f"{what} of {tokens} tokens is longer than the {positions} positions that this model "
            f"has learned; lower it to {positions} or less"
        )


def length_remark(config: Config, tokens: int, what: str) -> str:
    """Return a remark on ``what`` where it is longer than anything the model was trained on.

    Empty where it is not, or where that cannot be known.
    """
    trained = config.get("max_position_embeddings")
    if learned_positions(config) is not None or not isinstance(trained, int) or tokens <= trained:
        return ""
    return (
        f"{what} of {tokens} tokens is longer than the {trained} that this model was made for "
        "(config.json: max_position_embeddings): expect worse scores"
    )


def learned_positions(config: Config) -> int | None:
    """Return the number of positions that a model has learned; None where they are computed."""
    weights = FAMILY_WEIGHTS.get(str(config.get("model_type")))
    if weights is None or weights.positions is None:
        return None
    number = config.get(weights.positions[0])
    return number if isinstance(number, int) else None
