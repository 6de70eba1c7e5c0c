"""Perplexity and lm-eval scores, on tiny models.

A model whose logits are all equal knows nothing: its scores are known.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from tests.tiny import VOCABULARY, save_tiny, tiny_model, tiny_tokenizer
from tests.trsp.evaluation.benchmark_rows import items, write_items
from tests.trsp.host_reads import host_reads
from trsp.checkpoints.checkpoint import load_model, load_tokenizer
from trsp.config import (
    BenchmarkSettings,
    EvaluationSettings,
    PerplexitySettings,
    TextSource,
)
from trsp.errors import (
    CalibrationTooShortError,
    InvalidInputError,
    TrainingDivergedError,
)
from trsp.evaluation.evaluate import (
    _task_scores,
    benchmark_scores,
    mean_accuracy,
    perplexity,
    windows_nll,
)
from trsp.evaluation.items import evaluate
from trsp.evaluation.lm_eval_tasks import write_task_overrides
from trsp.records import Score


def ignorant_model() -> PreTrainedModel:
    """All tokens are equally likely: a text's log-likelihood is -length * log(vocabulary)."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight.zero_()
    return model


# --- perplexity ---------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_window_nll_is_the_mean_over_predicted_tokens(dtype: torch.dtype) -> None:
    model = tiny_model("llama", dtype=dtype)
    tokens_NT = torch.randint(VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(0))
    expected = []
    for tokens_T in tokens_NT:
        with torch.no_grad():
            logits_TV = model(tokens_T[None]).logits[0].double()
        log_p_TV = logits_TV - logits_TV.logsumexp(-1, keepdim=True)
        expected.append(-sum(log_p_TV[t, tokens_T[t + 1]].item() for t in range(19)) / 19)
    assert windows_nll(model, tokens_NT) == pytest.approx(expected, rel=1e-5)


def test_window_nll_depends_on_neither_batch_size_nor_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_model("llama")
    tokens_NT = torch.randint(VOCABULARY, (5, 40), generator=torch.Generator().manual_seed(0))
    one_by_one = windows_nll(model, tokens_NT, batch_size=1)
    for batch_size in (2, 5, "auto"):
        batched = windows_nll(model, tokens_NT, batch_size)
        assert batched == pytest.approx(one_by_one, rel=1e-6), batch_size
    monkeypatch.setattr("trsp.evaluation.evaluate._logits_at_once", lambda _: 7 * VOCABULARY)
    assert windows_nll(model, tokens_NT) == pytest.approx(one_by_one, rel=1e-6)


def test_windows_are_waited_for_once_however_many_there_are() -> None:
    model = tiny_model("llama")
    tokens_NT = torch.randint(VOCABULARY, (6, 40), generator=torch.Generator().manual_seed(0))
    with host_reads() as reads:
        windows_nll(model, tokens_NT, batch_size=1)
    assert reads == ["tolist"]


def test_perplexity_of_ignorance_is_the_vocabulary(text_file: Path) -> None:
    window = PerplexitySettings(
        text=TextSource(name="tiny-text", path=str(text_file)), window_tokens=32, max_windows=4
    )
    record = evaluate(
        ignorant_model(), tiny_tokenizer(), EvaluationSettings(perplexity=(window,), batch_size=3)
    )
    assert record.scores["perplexity/tiny-text"].value == pytest.approx(VOCABULARY, rel=1e-5)
    assert record.window_nll == {"tiny-text": pytest.approx([math.log(VOCABULARY)] * 4)}


def test_perplexity_and_its_standard_error() -> None:
    score = perplexity((1.0, 3.0))  # two windows, standard deviation sqrt(2)
    assert (score.value, score.stderr) == pytest.approx((math.exp(2), math.exp(2)))
    assert perplexity((2.0,)) == Score(value=math.exp(2), stderr=None)
    for broken in (math.nan, math.inf):
        with pytest.raises(TrainingDivergedError, match=f"mean NLL is {broken}"):
            perplexity((1.0, broken))


def test_a_metric_that_is_not_finite_is_no_score() -> None:
    results = {"word_perplexity,none": math.inf, "alias": "wikitext"}
    with pytest.raises(TrainingDivergedError, match="wikitext/word_perplexity is inf"):
        list(_task_scores("wikitext", results))


def test_a_standard_error_that_is_not_finite_is_not_known() -> None:
    results = {"acc,none": 0.5, "acc_stderr,none": math.nan}
    assert list(_task_scores("piqa", results)) == [("piqa/acc", Score(value=0.5))]


def test_nothing_is_computed_for_settings_that_cannot_be_met(
    text_file: Path, tmp_path: Path
) -> None:
    model = tiny_model("llama")
    model.register_forward_hook(lambda *_: pytest.fail("the model ran"))
    window = PerplexitySettings(text=TextSource(name="t", path=str(text_file)), window_tokens=32)
    unknown = EvaluationSettings(
        perplexity=(window,), benchmarks=BenchmarkSettings(tasks=("arc_esay",))
    )
    with pytest.raises(InvalidInputError, match="arc_easy"):
        evaluate(model, tiny_tokenizer(), unknown)
    too_long = EvaluationSettings(
        perplexity=(window, window.model_copy(update={"window_tokens": 10**6}))
    )
    with pytest.raises(CalibrationTooShortError):
        evaluate(model, tiny_tokenizer(), too_long)


# --- benchmarks ---------------------------------------------------------------


@pytest.fixture
def no_pip_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm-eval adds what ``pip list`` prints to its results, which takes a second each time."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)


@pytest.mark.usefixtures("no_pip_list")
@pytest.mark.parametrize("shortest_is_right", [True, False])
def test_tasks_read_their_rows_from_the_folder(tmp_path: Path, shortest_is_right: bool) -> None:
    """Ignorance prefers what is short: every item is right, or every one wrong."""
    rows = items(shortest_is_right)
    settings = BenchmarkSettings(
        tasks=tuple(rows), data=str(write_items(tmp_path / "a b", rows)), batch_size=4
    )
    scores = benchmark_scores(ignorant_model(), tiny_tokenizer(), settings)
    expected = float(shortest_is_right)
    assert {f"{task}/acc": scores[f"{task}/acc"].value for task in rows} == {
        f"{task}/acc": expected for task in rows
    }
    normalised = {name for name in scores if name.endswith("/acc_norm")}
    assert normalised == {"arc_easy/acc_norm", "hellaswag/acc_norm", "piqa/acc_norm"}


@pytest.mark.usefixtures("no_pip_list")
def test_limit_few_shots_and_the_test_split(tmp_path: Path) -> None:
    """The test split is scored where there is one; examples come from the training split."""
    for split, shortest_is_right in (("train", True), ("validation", True), ("test", False)):
        write_items(tmp_path, {"arc_easy": items(shortest_is_right)["arc_easy"]}, split)
    settings = BenchmarkSettings(tasks=("arc_easy",), data=str(tmp_path), limit=5, num_fewshot=1)
    score = benchmark_scores(ignorant_model(), tiny_tokenizer(), settings)["arc_easy/acc"]
    assert score.value == 0.0


@pytest.mark.usefixtures("no_pip_list")
def test_rows_that_the_code_of_a_task_cannot_read_are_bad_input(tmp_path: Path) -> None:
    """What that code reads is not known before it runs."""
    rows = [{"label": 0}, {"label": 1}]
    data = write_items(tmp_path, {"copa": rows})
    settings = BenchmarkSettings(tasks=("copa",), data=str(data))
    with pytest.raises(InvalidInputError, match=r"copa: lm-eval cannot read .*KeyError"):
        benchmark_scores(tiny_model("llama"), tiny_tokenizer(), settings)


@pytest.mark.usefixtures("no_pip_list")
def test_benchmarks_leave_the_tokenizer_alone(tmp_path: Path) -> None:
    rows = {"piqa": items(True, count=2)["piqa"]}
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    settings = BenchmarkSettings(tasks=("piqa",), data=str(write_items(tmp_path, rows)))
    benchmark_scores(tiny_model("llama"), tokenizer, settings)
    assert tokenizer.pad_token is None


def test_accuracy_is_the_published_mean() -> None:
    values = {"piqa/acc": 0.1, "piqa/acc_norm": 0.2, "winogrande/acc": 0.4, "boolq/acc": 0.6}
    values |= {"sciq/acc": 0.9, "sciq/acc_norm": 0.8}
    scores = {name: Score(value=value, stderr=0.03) for name, value in values.items()}
    mean = mean_accuracy(("piqa", "winogrande", "boolq", "sciq", "gsm8k"), scores)
    assert mean is not None
    assert (mean.value, mean.stderr) == pytest.approx(((0.2 + 0.4 + 0.6 + 0.8) / 4, 0.03 / 2))
    assert mean_accuracy(("gsm8k",), scores) is None


@pytest.mark.slow
def test_scores_are_those_of_the_lm_eval_command(tmp_path: Path) -> None:
    """A bfloat16 checkpoint, a limit that cuts batches short, one example before each item."""
    rows = items(True)
    data = write_items(tmp_path / "data", rows)
    checkpoint = save_tiny("qwen3", tmp_path / "tiny model", dtype=torch.bfloat16)
    settings = BenchmarkSettings(
        tasks=tuple(rows), data=str(data), limit=7, batch_size=4, num_fewshot=1
    )
    ours = benchmark_scores(load_model(str(checkpoint)), load_tokenizer(str(checkpoint)), settings)
    options = {
        "model": "hf",
        "model_args": f"pretrained={checkpoint}",
        "tasks": ",".join(rows),
        "include_path": str(write_task_overrides(data, rows, tmp_path / "tasks")),
        "limit": "7",
        "batch_size": "4",
        "num_fewshot": "1",
        "output_path": str(tmp_path / "out"),
    }
    command = [sys.executable, "-m", "lm_eval"]
    for name, value in options.items():
        command += [f"--{name}", value]
    subprocess.run(command, check=True, capture_output=True, timeout=240)
    (written,) = (tmp_path / "out").rglob("results_*.json")
    theirs = json.loads(written.read_text())["results"]
    for task in rows:
        for metric in ("acc", "acc_norm"):
            assert (f"{metric},none" in theirs[task]) == (f"{task}/{metric}" in ours)
            if f"{task}/{metric}" in ours:
                assert ours[f"{task}/{metric}"].value == theirs[task][f"{metric},none"]
                assert ours[f"{task}/{metric}"].stderr == pytest.approx(
                    theirs[task][f"{metric}_stderr,none"]
                )


def test_windows_that_the_model_cannot_read_are_refused(text_file: Path) -> None:
    text = TextSource(name="t", path=str(text_file))
    settings = EvaluationSettings(
        perplexity=(PerplexitySettings(text=text, window_tokens=300, max_windows=1),)
    )
    with pytest.raises(InvalidInputError, match="window of 't' of 300 tokens is longer than"):
        evaluate(tiny_model("opt", layers=2), tiny_tokenizer(), settings)
