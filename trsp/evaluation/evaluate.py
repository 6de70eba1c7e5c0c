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
from jinja2 import UndefinedError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trsp.batch_sizes import rows_at_once
from trsp.chunk_sizes import scored_logits_at_once
from trsp.config import BatchSize, BenchmarkSettings
from trsp.errors import InvalidInputError, TrainingDivergedError
from trsp.evaluation.lm_eval_tasks import write_task_overrides
from trsp.evaluation.task_rows import check_tasks
from trsp.progress_lines import tick
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
_LARGEST_NLL = 690.0  # exp of more overflows, times a spread; a guess of a million tokens has 14


# --- perplexity ----------------------------------------------------------------


@torch.inference_mode()
def windows_nll(
    model: PreTrainedModel, tokens_NT: Tensor, batch_size: BatchSize = "auto"
) -> tuple[float, ...]:
    """Return the mean NLL of the T - 1 predicted tokens of every window, N values.

    The log-softmax is in fp32 whatever the model's precision. ``batch_size``: windows per forward
    pass; ``auto``: see ``rows_at_once``. The device is waited for once, at the end.
    """
    rows = rows_at_once(model, tokens_NT.shape[1]) if batch_size == "auto" else batch_size
    batches = tokens_NT.to(model.device).split(rows)
    nll: list[Tensor] = []
    for tokens_BT in batches:
        nll.append(_batch_nll(model(input_ids=tokens_BT, use_cache=False).logits, tokens_BT))
        tick(sum(map(len, nll)), len(tokens_NT), "window")
    return tuple(torch.cat(nll).tolist())


def _batch_nll(logits_BTV: Tensor, tokens_BT: Tensor) -> Tensor:
    """Return the mean NLL of each window, [B] in fp64, on the device of the logits."""
    targets_BT = tokens_BT.roll(-1, dims=1).to(logits_BTV.device)  # the last is never scored
    logits_NV, targets_N = logits_BTV.flatten(0, 1), targets_BT.flatten()
    at_once = max(1, _logits_at_once(logits_BTV) // logits_NV.shape[1])
    chunks = zip(logits_NV.split(at_once), targets_N.split(at_once), strict=True)
    nll_N = torch.cat([_nll(logits.float(), targets) for logits, targets in chunks])
    return nll_N.view_as(targets_BT)[:, :-1].mean(1, dtype=torch.float64)


def _nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Return -log softmax of the targets, [N]. (Cross-entropy would write all of the softmax.)"""
    return logits_NV.logsumexp(1) - logits_NV.gather(1, targets_N[:, None])[:, 0]


def _logits_at_once(logits: Tensor) -> int:
    return scored_logits_at_once(on_gpu=logits.device.type != "cpu")


def perplexity(window_nll: tuple[float, ...]) -> Score:
    """Return exp of the mean NLL over windows, which are of one length.

    The standard error is over windows, by the delta method; None for one window.
    TrainingDivergedError when the mean is no finite number.
    """
    mean = statistics.fmean(window_nll)
    if not mean < _LARGEST_NLL:
        raise TrainingDivergedError(
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
    filters reads ``TASK/METRIC-FILTER``. InvalidInputError for a task that is not known, and for
    rows of the data folder that a task cannot read; TrainingDivergedError where logits are NaN.
    """
    check_tasks(settings)
    with _quiet(), tempfile.TemporaryDirectory(prefix="trsp-tasks-") as folder:
        try:
            results = _lm_eval(model, tokenizer, settings, folder)
        except (LookupError, UndefinedError) as error:
            if settings.data is None:
                raise
            raise InvalidInputError(
                f"benchmark {', '.join(settings.tasks)}: lm-eval cannot read the rows in "
                f"{settings.data} ({type(error).__name__}: {error}); a row has the columns of the "
                "task's own data set"
            ) from error
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

    from trsp.evaluation.lm_eval_model import lm_eval_model

    manager = _task_manager(settings, folder)
    copied = copy.deepcopy(tokenizer)  # because lm-eval gives it a padding token
    output = simple_evaluate(
        lm_eval_model(model, copied, settings.batch_size),
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
        yield name, _score(name, value, stderr)


def _score(name: str, value: float, stderr: object) -> Score:
    """Return a metric's score. TrainingDivergedError: its value is not finite."""
    if not math.isfinite(value):
        raise TrainingDivergedError(
            f"{name} is {value}: the model is ruined, or it overflows; evaluate it in fp32"
        )
    known = isinstance(stderr, int | float) and math.isfinite(stderr)
    return Score(value=value, stderr=stderr if known else None)


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
