"""What of a grid cannot work, as far as files at hand tell before anything starts.

Reads configs, headers of weights, tokenizers and texts; no weights, no network, no torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.grid.axes import ModelEntry
from orchestrator.grid.cells import ModelInfo, text_id
from orchestrator.grid.expand import Refusal
from orchestrator.grid.schema import Grid
from orchestrator.stages.model_info import ModelFiles, files_at_hand
from trsp.architecture.limits import check_length, length_remark
from trsp.checkpoints.tokenizer_files import check_token_ids, check_tokenizer_is_there
from trsp.checkpoints.weight_checks import check_weights
from trsp.config import TextSource
from trsp.data.texts import check_text
from trsp.errors import CalibrationTooShortError, InvalidInputError

# Of each text that a plan reads: a wrong encoding, column or format mostly shows within as much,
# and it takes milliseconds. A run reads all of it, and stages answer in the same words.
PLANNED_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Known:
    """What is known beforehand: what cannot work, and what people should know."""

    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def known_problems(
    grid: Grid, models: Mapping[str, ModelInfo], characters: int | None = PLANNED_CHARACTERS
) -> Known:
    """Return what is wrong with a grid whose paths are absolute, beside its combinations.

    ``models``: those that can be used as far as was looked, by the names of the grid's entries.
    ``characters``: how much of each text is read; None: all that is ever used of it.
    """
    refusals: list[Refusal] = []
    notes: list[str] = []
    for entry in grid.models:
        if entry.name in models:
            try:
                notes.extend(_check_model(grid, entry, models[entry.name]))
            except InvalidInputError as error:
                refusals.append(Refusal(entry.name, str(error)))
            except OSError as error:
                refusals.append(
                    Refusal(entry.name, f"model {entry.source!r} cannot be read: {error}")
                )
    refusals.extend(Refusal("", reason) for reason in _grid_refusals(grid, characters))
    return Known(tuple(refusals), tuple(notes))


def _check_model(grid: Grid, entry: ModelEntry, info: ModelInfo) -> Iterator[str]:
    """Yield remarks on a model. InvalidInputError: it, or what is asked of it, cannot work."""
    files = files_at_hand(entry, info.revision)
    if files is None:
        return
    check_weights(entry.source, files.folder, files.config, partial=files.partial)
    if not files.partial:
        check_tokenizer_is_there(entry.source, files.folder)
    if remark := check_token_ids(entry.source, files.folder, int(files.config["vocab_size"])):
        yield remark
    yield from _check_lengths(grid, entry, files)


def _check_lengths(grid: Grid, entry: ModelEntry, files: ModelFiles) -> Iterator[str]:
    """Yield remarks on what is longer than the model was made for.

    InvalidInputError for what is longer than it can be: BOS has a place within each of these.
    lm-eval is not among them, for it cuts what is too long.
    """
    for tokens, what in _lengths(grid):
        try:
            check_length(files.config, tokens, what)
        except InvalidInputError as error:
            raise InvalidInputError(f"model {entry.source!r}: {error}") from None
        if remark := length_remark(files.config, tokens, what):
            yield f"model {entry.source!r}: {remark}"


def _lengths(grid: Grid) -> Iterator[tuple[int, str]]:
    """Yield every number of tokens that the grid's models are to read in a row, and what it is."""
    if any(selector.uses_text for selector in grid.selectors) or any(
        transfer.name != "none" for transfer in grid.transfer
    ):
        yield grid.calibration.block_tokens, "a calibration block (calibration.block_tokens)"
    for perplexity in grid.evaluation.perplexity:
        yield perplexity.window_tokens, f"an evaluation window of {perplexity.text.name!r}"
    # What ``auto`` means is short enough for every model, if its own settings are.
    measurement = grid.measurement.chosen_for(gpu=False)
    if measurement.protocol != "none":
        yield measurement.prompt_tokens, "the measured prompt (measurement.prompt_tokens)"
        yield (
            measurement.generate_prompt_tokens + measurement.generate_new_tokens,
            "measured generation (measurement.generate_prompt_tokens + generate_new_tokens)",
        )


def _grid_refusals(grid: Grid, characters: int | None) -> Iterator[str]:
    """Yield what cannot work whatever the model."""
    for budget in grid.budgets:
        if not budget.limits:
            yield (
                f"budget {budget.alias} has no limit; give it max_params, max_bytes, "
                "max_latency_ms or max_kv_bytes_per_token, or leave it out: "
                "`trsp best` finds the best of all"
            )
    yield from _text_refusals(grid, characters)
    try:
        _check_benchmarks(grid)
    except InvalidInputError as error:
        yield str(error)
    except OSError as error:
        yield f"evaluation.benchmarks.data cannot be read: {error}"


def _text_refusals(grid: Grid, characters: int | None) -> Iterator[str]:
    seen: set[str] = set()
    for text, tokens, unit in texts_of(grid):
        if text.path is None:
            continue
        try:
            check_size(text, tokens, unit)
            if text_id(text) not in seen:
                seen.add(text_id(text))
                check_text(text, characters)
        except InvalidInputError as error:
            yield str(error)
        except OSError as error:
            yield f"text {text.name!r} cannot be read: {error}"


def texts_of(grid: Grid) -> Iterator[tuple[TextSource, int, str]]:
    """Yield every text of the grid, and of what it must make one: so many tokens, and its name."""
    calibration = grid.calibration
    yield calibration.text, calibration.block_tokens, "calibration block"
    for perplexity in grid.evaluation.perplexity:
        yield perplexity.text, perplexity.window_tokens, "evaluation window"


def check_size(text: TextSource, tokens: int, unit: str) -> None:
    """Raise CalibrationTooShortError when a local file cannot make one ``unit`` of so many tokens.

    That costs nothing: a token is at least a byte. Nothing is known of a file that is compressed or
    not there.
    """
    path = Path(text.path or "")
    if text.path is None or path.suffix == ".parquet" or not path.is_file():
        return
    size_bytes = path.stat().st_size
    if size_bytes < tokens:
        raise CalibrationTooShortError(
            f"text {text.name!r}: {text.path} has {size_bytes} bytes, "
            f"which cannot make one {unit} of {tokens} tokens; "
            "give a longer text or a shorter block or window"
        )


def _check_benchmarks(grid: Grid) -> None:
    """Raise InvalidInputError for a task that nobody knows, or that the data folder lacks."""
    from trsp.evaluation.task_rows import check_tasks

    if grid.evaluation.benchmarks is not None:
        check_tasks(grid.evaluation.benchmarks)
