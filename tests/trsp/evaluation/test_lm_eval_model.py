"""lm-eval's log-likelihoods in batches by tokens, against lm-eval's own class one by one."""

from functools import cache
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from tests.tiny import FAMILY_SETTINGS, VOCABULARY, tiny_model, tiny_tokenizer
from tests.trsp.host_reads import host_reads
from trsp.config import BatchSize
from trsp.errors import TrainingDivergedError
from trsp.evaluation.evaluate import windows_nll
from trsp.evaluation.lm_eval_model import TokenBatchedLM, lm_eval_model

TEXT = "The quiet river follows the old stone. A clever farmer remembers the green machine."
WINDOW_TOKENS = 20


def requests(count: int = 40) -> list[Any]:
    """Contexts and continuations of many lengths; some share their input, some are too long."""
    generator = torch.Generator().manual_seed(0)

    def ids(length: int) -> list[int]:
        return torch.randint(5, 250, (length,), generator=generator).tolist()

    made = [(None, ids(1 + 7 * i % 50), ids(1 + i % 9)) for i in range(count)]
    shared = [(None, context, [*continuation[:-1], 9]) for _, context, continuation in made[:5]]
    too_long = (None, ids(250), ids(30))
    return [*made, *shared, too_long]


def one_by_one(model: Any) -> HFLM:
    return lm_eval_model(model, tiny_tokenizer(), 1)


def by_tokens(model: Any) -> HFLM:
    return lm_eval_model(model, tiny_tokenizer(), "auto")


@pytest.mark.parametrize("family", sorted(FAMILY_SETTINGS))
def test_log_likelihoods_are_those_of_lm_evals_own_class(family: str) -> None:
    model, asked = tiny_model(family), requests()
    ours = by_tokens(model)._loglikelihood_tokens(asked)
    theirs = one_by_one(model)._loglikelihood_tokens(asked, disable_tqdm=True)
    assert [total for total, _ in ours] == pytest.approx([each for each, _ in theirs], rel=1e-5)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]


def test_a_greedy_continuation_is_known_as_one() -> None:
    model = tiny_model("llama")
    context = list(range(5, 15))
    prompt_BT = torch.tensor([context])
    greedy = model.generate(prompt_BT, max_new_tokens=4, min_new_tokens=4, do_sample=False)
    continuation = greedy[0, len(context) :].tolist()
    other = [*continuation[:-1], (continuation[-1] + 1) % VOCABULARY]
    asked = [(None, context, continuation), (None, context, other)]
    assert [each for _, each in by_tokens(model)._loglikelihood_tokens(asked)] == [True, False]


def test_inputs_that_requests_share_pass_once() -> None:
    model, rows = tiny_model("llama"), []
    model.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    asked = [(None, [5, 6, 7], [token]) for token in (8, 9, 10, 11)]
    assert len(by_tokens(model)._loglikelihood_tokens(asked)) == 4
    assert rows == [1]


def test_requests_are_waited_for_once_however_many_there_are() -> None:
    lm, asked = by_tokens(tiny_model("llama")), requests()
    with host_reads() as reads:
        lm._loglikelihood_tokens(asked)
    assert reads == ["tolist"]


@pytest.mark.parametrize("batch_size", ["auto", 2])
def test_log_likelihoods_that_are_nan_are_an_error(batch_size: BatchSize) -> None:
    """The first choice would count as the best: an accuracy of 1.0 where that is the right one."""
    model = tiny_model("llama")
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    lm, asked = lm_eval_model(model, tiny_tokenizer(), batch_size), requests()
    with pytest.raises(TrainingDivergedError, match=f"{len(asked)} of {len(asked)} log-like"):
        lm._loglikelihood_tokens(asked)


def test_nothing_asked_is_nothing_answered() -> None:
    assert by_tokens(tiny_model("llama"))._loglikelihood_tokens([]) == []


def test_a_number_is_lm_evals_own_class_and_batch() -> None:
    lm = lm_eval_model(tiny_model("llama"), tiny_tokenizer(), 3)
    assert isinstance(lm, HFLM)
    assert not isinstance(lm, TokenBatchedLM)
    assert lm.batch_size == 3


def test_generation_is_not_tried_out_on_a_cpu() -> None:
    """lm-eval's own auto makes 5 passes of 64 times the longest input to find its batch."""
    model = tiny_model("llama")
    lm = by_tokens(model)
    model.register_forward_hook(lambda *_: pytest.fail("the model ran"))
    assert isinstance(lm, TokenBatchedLM)
    assert lm._detect_batch_size() == 1


# --- perplexity is lm-eval's (tests/verify_perplexity.py does the same on a real model) ---


@cache
def windows(bos: int | None) -> torch.Tensor:
    """The text's tokens in windows, each opened by ``bos`` where it is given."""
    opening = [] if bos is None else [bos]
    ids = tiny_tokenizer()(TEXT, add_special_tokens=False)["input_ids"]
    content = WINDOW_TOKENS - len(opening)
    starts = range(0, len(ids) - content + 1, content)
    return torch.tensor([opening + ids[start : start + content] for start in starts])


def totals_of_lm_eval(kind: str, arguments: list[tuple[str, ...]]) -> list[float]:
    lm = HFLM(
        pretrained=tiny_model("llama"),
        tokenizer=tiny_tokenizer(),
        max_length=WINDOW_TOKENS,
        add_bos_token=False,
    )
    asked = [Instance(kind, {}, each, i) for i, each in enumerate(arguments)]
    answers = getattr(lm, kind)(asked, disable_tqdm=True)
    return [each if isinstance(each, float) else each[0] for each in answers]


def test_perplexity_with_bos_is_that_of_lm_evals_rolling_windows() -> None:
    tokenizer = tiny_tokenizer()
    tokens_NT = windows(tokenizer.bos_token_id)
    texts = [(tokenizer.decode(tokens_T[1:]),) for tokens_T in tokens_NT]
    theirs = totals_of_lm_eval("loglikelihood_rolling", texts)
    predicted = WINDOW_TOKENS - 1
    ours = [-predicted * nll for nll in windows_nll(tiny_model("llama"), tokens_NT)]
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_perplexity_without_bos_is_lm_evals_after_the_first_token() -> None:
    tokenizer = tiny_tokenizer()
    tokens_NT = windows(None)
    # lm-eval moves spaces at the end of a context into the continuation.
    tokens_NT = tokens_NT[[not tokenizer.decode(each[:1]).isspace() for each in tokens_NT]]
    assert len(tokens_NT) > 1
    texts = [(tokenizer.decode(each[:1]), tokenizer.decode(each[1:])) for each in tokens_NT]
    theirs = totals_of_lm_eval("loglikelihood", texts)
    predicted = WINDOW_TOKENS - 1
    ours = [-predicted * nll for nll in windows_nll(tiny_model("llama"), tokens_NT)]
    assert ours == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize("bos", [None, 257])
def test_perplexity_is_the_models_own_loss(bos: int | None) -> None:
    model, tokens_NT = tiny_model("llama"), windows(bos)
    with torch.no_grad():
        theirs = [float(model(each[None], labels=each[None]).loss) for each in tokens_NT]
    assert windows_nll(model, tokens_NT) == pytest.approx(theirs, rel=1e-5)
