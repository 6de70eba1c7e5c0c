"""An evaluation is made of items, one per text and one per benchmark task, each by itself.

What an item gives does not depend on which others are evaluated beside it. Knows no checkpoint
folder or store.
"""

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trsp.architecture.families import needs_bos
from trsp.architecture.limits import check_tokens
from trsp.config import BatchSize, BenchmarkSettings, EvaluationSettings
from trsp.data.blocks import evaluation_windows
from trsp.evaluation.evaluate import benchmark_scores, mean_accuracy, perplexity, windows_nll
from trsp.evaluation.task_rows import check_tasks
from trsp.records import EvaluationRecord, ItemRecord, Score

_PERPLEXITY = "perplexity"


def item_names(settings: EvaluationSettings) -> tuple[str, ...]:
    """Return the names of the items in order: ``perplexity/TEXT`` of each text, then each task."""
    texts = tuple(f"{_PERPLEXITY}/{each.text.name}" for each in settings.perplexity)
    return texts + (settings.benchmarks.tasks if settings.benchmarks else ())


def evaluate(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: EvaluationSettings
) -> EvaluationRecord:
    """Return all scores of ``settings``, on the model's own device and in its own precision.

    The model is left in eval mode. InvalidInputError, before anything is computed, for an unknown
    task, a text too short for one window, or windows that this model cannot read.
    """
    items = prepared_items(model, tokenizer, settings, item_names(settings))
    return assembled(settings, {name: compute() for name, compute in items.items()})


def prepared_items(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: EvaluationSettings,
    wanted: Collection[str],
) -> dict[str, Callable[[], ItemRecord]]:
    """Return what computes each of the ``wanted`` items, by name, in order.

    InvalidInputError for an unknown task, a text too short for one window, or windows that this
    model cannot read: whatever can be known before anything is computed.
    """
    config = model.eval().config.to_dict()
    items: dict[str, Callable[[], ItemRecord]] = {}
    for each in settings.perplexity:
        name = f"{_PERPLEXITY}/{each.text.name}"
        if name in wanted:
            tokens_NT = evaluation_windows(tokenizer, each, needs_bos=needs_bos(config))
            check_tokens(config, tokens_NT, f"an evaluation window of {each.text.name!r}")
            items[name] = partial(perplexity_item, model, tokens_NT, settings.batch_size)
    benchmarks = settings.benchmarks
    for task in benchmarks.tasks if benchmarks else ():
        if benchmarks and task in wanted:
            alone = benchmarks.model_copy(update={"tasks": (task,)})
            check_tasks(alone)
            items[task] = partial(benchmark_item, model, tokenizer, alone)
    return items


def perplexity_item(model: PreTrainedModel, tokens_NT: Tensor, batch_size: BatchSize) -> ItemRecord:
    """Return the perplexity over windows of tokens. TrspError where it is no finite number."""
    started = time.monotonic()
    nll = windows_nll(model, tokens_NT, batch_size)
    return ItemRecord(
        scores={_PERPLEXITY: perplexity(nll)}, window_nll=nll, seconds=time.monotonic() - started
    )


def benchmark_item(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: BenchmarkSettings
) -> ItemRecord:
    """Return the scores of the one task of ``settings``."""
    started = time.monotonic()
    scores = benchmark_scores(model, tokenizer, settings)
    scores.pop("accuracy", None)  # the mean over tasks, of which there is one
    return ItemRecord(scores=scores, seconds=time.monotonic() - started)


def assembled(settings: EvaluationSettings, items: Mapping[str, ItemRecord]) -> EvaluationRecord:
    """Return the evaluation that these items make, by name. KeyError where one is missing.

    A text's perplexity gets the name that the settings give the text; ``accuracy`` is the mean over
    the tasks.
    """
    scores: dict[str, Score] = {}
    window_nll: dict[str, tuple[float, ...]] = {}
    for each in settings.perplexity:
        name = f"{_PERPLEXITY}/{each.text.name}"
        scores[name] = items[name].scores[_PERPLEXITY]
        window_nll[each.text.name] = items[name].window_nll
    if settings.benchmarks:
        for task in settings.benchmarks.tasks:
            scores |= items[task].scores
        accuracy = mean_accuracy(settings.benchmarks.tasks, scores)
        scores |= {} if accuracy is None else {"accuracy": accuracy}
    seconds = sum(items[name].seconds for name in item_names(settings))
    return EvaluationRecord(scores=scores, window_nll=window_nll, seconds=seconds)
