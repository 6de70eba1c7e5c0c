"""How a model is scored: perplexity over fixed windows, and lm-eval's benchmark tasks.

Knows no checkpoint folder or store. Shapes: N windows, B windows per forward pass, T tokens, V
vocabulary. NLL is in nats per predicted token.
"""

import contextlib
import copy
import io
import logging
import math
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trsp.chunk_sizes import SCORED_TOKENS
from trsp.config import BenchmarkSettings
from trsp.errors import TrspError
from trsp.evaluation.lm_eval_tasks import check_tasks, write_task_overrides
from trsp.records import Score

# What the published 5-task mean is made of (docs/method.md, section 3). Of other tasks it is
# acc_norm where there is one, else acc.
PUBLISHED_METRICS: Mapping[str, str] = {
    "piqa": "acc_norm",
    "hellaswag": "acc_norm",
    "arc_easy": "acc_norm",
    "arc_challenge": "acc_norm",
    "winogrande": "acc",
}
_TOKENS_AT_ONCE = SCORED_TOKENS  # of fp32 logits
_LARGEST_NLL = 700.0  # exp of more overflows; a uniform guess over a million tokens has 14


# --- perplexity ----------------------------------------------------------------


@torch.inference_mode()
def windows_nll(
    model: PreTrainedModel, tokens_NT: Tensor, batch_size: int = 1
) -> tuple[float, ...]:
    """Return the mean NLL of the T - 1 predicted tokens of every window, N values.

    The log-softmax is in fp32 whatever the model's precision.
    """
    nll: list[float] = []
    for tokens_BT in tokens_NT.to(model.device).split(batch_size):
        logits_BTV = model(input_ids=tokens_BT, use_cache=False).logits
        nll.extend(
            _window_nll(logits_TV[:-1], tokens_T[1:])
            for logits_TV, tokens_T in zip(logits_BTV, tokens_BT, strict=True)
        )
    return tuple(nll)


def _window_nll(logits_TV: Tensor, targets_T: Tensor) -> float:
    parts = zip(logits_TV.split(_TOKENS_AT_ONCE), targets_T.split(_TOKENS_AT_ONCE), strict=True)
    total = sum(
        functional.cross_entropy(logits.float(), targets, reduction="sum").item()
        for logits, targets in parts
    )
    return total / len(targets_T)


def perplexity(window_nll: tuple[float, ...]) -> Score:
    """Return exp of the mean NLL over windows, which are of one length.

    The standard error is over windows, by the delta method; None for one window. TrspError when
    the mean is no finite number.
    """
    mean = statistics.fmean(window_nll)
    if not mean < math.log(1e300):
        raise TrspError(
            f"the mean NLL is {mean}: the model's logits are not finite; evaluate it in fp32, or "
            "look at its training"
        )
    value = math.exp(mean)
    if len(window_nll) == 1:
        return Score(value=value)
    stderr = value * statistics.stdev(window_nll) / math.sqrt(len(window_nll))
    return Score(value=value, stderr=stderr)


# --- benchmarks ----------------------------------------------------------------


def benchmark_scores(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: BenchmarkSettings
) -> dict[str, Score]:
    """Return ``TASK/METRIC`` for every metric of lm-eval, and ``accuracy``, their published mean.

    They are the numbers that ``lm_eval --model hf`` prints. A metric behind one of a task's own
    filters reads ``TASK/METRIC-FILTER``.
    """
    check_tasks(settings)
    with _quiet(), tempfile.TemporaryDirectory(prefix="trsp-tasks-") as folder:
        results = _lm_eval(model, tokenizer, settings, folder)
    scores: dict[str, Score] = {}
    for task, metrics in results.items():
        scores.update(_task_scores(task, metrics))
    accuracy = mean_accuracy(settings.tasks, scores)
    return scores if accuracy is None else scores | {"accuracy": accuracy}


def mean_accuracy(tasks: tuple[str, ...], scores: Mapping[str, Score]) -> Score | None:
    """Return the mean over tasks of the accuracy that PUBLISHED_METRICS names.

    Tasks without an accuracy are left out; None when none has one. The standard error is None
    unless that of every task is known.
    """
    accuracies = [score for task in tasks if (score := _accuracy(task, scores)) is not None]
    if not accuracies:
        return None
    mean = statistics.fmean(score.value for score in accuracies)
    errors = [score.stderr for score in accuracies if score.stderr is not None]
    if len(errors) < len(accuracies):
        return Score(value=mean)
    return Score(value=mean, stderr=math.hypot(*errors) / len(accuracies))


def _accuracy(task: str, scores: Mapping[str, Score]) -> Score | None:
    """Return the task's published metric, or of other tasks acc_norm, else acc, else None."""
    published = PUBLISHED_METRICS.get(task)
    for metric in (published,) if published else ("acc_norm", "acc"):
        if f"{task}/{metric}" in scores:
            return scores[f"{task}/{metric}"]
    return None


def _lm_eval(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: BenchmarkSettings,
    folder: str,
) -> dict[str, dict[str, Any]]:
    """Return lm-eval's ``results``: task -> its metrics. ``folder`` is for task files."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    manager = _task_manager(settings, folder)
    copied = copy.deepcopy(tokenizer)  # because HFLM gives it a padding token
    output = simple_evaluate(
        HFLM(pretrained=model, tokenizer=copied, batch_size=settings.batch_size),
        tasks=list(settings.tasks),
        num_fewshot=settings.num_fewshot,
        batch_size=settings.batch_size,
        limit=settings.limit,
        log_samples=False,
        task_manager=manager,
    )
    results: dict[str, dict[str, Any]] = output["results"]
    return results


def _task_manager(settings: BenchmarkSettings, folder: str) -> Any:
    """Return lm-eval's index of tasks.

    With a data folder it holds our task files only: reading all of lm-eval's own takes seconds.
    """
    if settings.data is None:
        return _all_tasks()

    from lm_eval.tasks import TaskManager

    overrides = write_task_overrides(settings.data, settings.tasks, folder)
    return TaskManager(include_path=str(overrides), include_defaults=False)


@cache
def _all_tasks() -> Any:
    """Return lm-eval's index of all its tasks, which takes seconds to make."""
    from lm_eval.tasks import TaskManager

    return TaskManager()


def _task_scores(task: str, metrics: Mapping[str, Any]) -> Iterator[tuple[str, Score]]:
    """Yield the names and scores of lm-eval's ``metrics`` of one task.

    Its keys are ``METRIC,FILTER`` and ``METRIC_stderr,FILTER``; a standard error that it cannot
    know is "N/A".
    """
    for key, value in metrics.items():
        metric, comma, chosen = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        stderr = metrics.get(f"{metric}_stderr,{chosen}")
        name = f"{task}/{metric}" if chosen == "none" else f"{task}/{metric}-{chosen}"
        yield name, Score(value=value, stderr=stderr if isinstance(stderr, int | float) else None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and notices of lm-eval and datasets out of the log; errors still raise."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
