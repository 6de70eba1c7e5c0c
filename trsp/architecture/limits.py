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
    @property
    def dtype(self) -> Any: ...
    def min(self) -> Any: ...
    def max(self) -> Any: ...


def check_tokens(config: Config, tokens_NT: TokenIds, what: str) -> None:
    """Raise InvalidInputError where a model cannot read a row of ``tokens_NT``, which is ``what``.

    That is no rows of tokens, ids that it has not, or more tokens than it has learned places. A
    model whose positions are computed reads any number, if not well. Unchecked, an id beyond the
    embedding ends a process in words of no help, and on a GPU all that follows in it.
    """
    _check_form(tokens_NT, what)
    check_length(config, tokens_NT.shape[-1], what)
    _check_ids(int(config["vocab_size"]), int(tokens_NT.min()), int(tokens_NT.max()), what)


def _check_ids(rows: int, smallest_id: int, largest_id: int, what: str) -> None:
    """Raise InvalidInputError unless an embedding of so many rows has all of the ids."""
    if smallest_id < 0:
        raise InvalidInputError(
            f"{what} holds the token id {smallest_id}; ids count from 0, and every token is "
            "predicted: leave out what is to be ignored"
        )
    if largest_id >= rows:
        raise InvalidInputError(
            f"{what} holds the token id {largest_id}, but the model's embedding has {rows} rows "
            "(config.json: vocab_size): take the tokenizer of this very checkpoint"
        )


def _check_form(tokens_NT: TokenIds, what: str) -> None:
    """Raise InvalidInputError unless there are rows of two tokens or more, as int64."""
    shape = list(tokens_NT.shape)
    if len(shape) != 2 or shape[0] < 1 or shape[1] < 2:
        raise InvalidInputError(
            f"{what}: token ids of the shape {shape} came; [N, T] is needed, N of at least 1 and T "
            "of at least 2, since every token but the first of a row is predicted"
        )
    dtype = str(tokens_NT.dtype).removeprefix("torch.")
    if dtype != "int64":
        raise InvalidInputError(f"{what}: token ids of {dtype} came; int64 is needed: use .long()")


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
