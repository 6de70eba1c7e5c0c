"""A model as lm-eval asks it: by lm-eval's own class, or batched by tokens.

The log-likelihoods are lm-eval's, to rounding: what differs is which requests share a forward pass.
Knows no task and no score. It imports lm_eval, which takes seconds: import it where it is needed.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trsp.batch_sizes import rows_at_once, tokens_at_once
from trsp.chunk_sizes import rows_per_pass
from trsp.config import BatchSize
from trsp.errors import TrainingDivergedError
from trsp.progress_lines import tick

_GENERATED_TOKENS = 1024  # of a prompt and what is generated after it: few are longer

Request = tuple[Any, list[int], list[int]]  # what it was made of, tokens of context, continuation
Inputs = tuple[int, ...]  # the token ids that one row of a forward pass reads


def lm_eval_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_size: BatchSize
) -> HFLM:
    """Return what lm-eval evaluates, by batches of its own for a number, for ``auto`` by ours.

    The tokenizer is given a padding token where it has none. Log-likelihoods that are NaN raise
    TrainingDivergedError: of such, lm-eval takes the first choice for the best.
    """
    if batch_size == "auto":
        return TokenBatchedLM(pretrained=model, tokenizer=tokenizer, batch_size="auto")
    return OwnBatchesLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


class OwnBatchesLM(HFLM):  # type: ignore[misc]
    """lm-eval's model as it is, whose log-likelihoods are checked."""

    def _loglikelihood_tokens(self, *args: Any, **kwargs: Any) -> list[tuple[float, bool]]:
        return _checked(super()._loglikelihood_tokens(*args, **kwargs))


def _checked(answers: list[tuple[float, bool]]) -> list[tuple[float, bool]]:
    """Return the log-likelihoods. TrainingDivergedError: one is NaN."""
    if broken := sum(math.isnan(total) for total, _ in answers):
        raise TrainingDivergedError(
            f"{broken} of {len(answers)} log-likelihoods are NaN: the model's logits are not "
            "finite; evaluate it in fp32, or look at its training"
        )
    return answers


class TokenBatchedLM(HFLM):  # type: ignore[misc]
    """lm-eval's model with passes of about equally many tokens.

    Requests of one length share a pass, logits are made from the first scored position on, and the
    device is waited for once, not per request. (HFLM's own ``auto`` tries batches until memory runs
    out, and keeps the one that fits the longest request.)
    """

    def _detect_batch_size(self, requests: Any = None, pos: int = 0) -> int:
        """Return the prompts that are generated from at once."""
        return rows_at_once(self.model, _GENERATED_TOKENS)

    @torch.inference_mode()
    def _loglikelihood_tokens(
        self, requests: Sequence[Request], disable_tqdm: bool = False, override_bs: Any = None
    ) -> list[tuple[float, bool]]:
        """Return the log-likelihood of every continuation, and whether it is the greedy one."""
        sharing: dict[Inputs, list[int]] = defaultdict(list)  # what reads one input: numbers
        for number, (_, context, continuation) in enumerate(requests):
            sharing[tuple((context + continuation)[-self.max_length - 1 : -1])].append(number)
        numbers: list[int] = []
        answers: list[Tensor] = []
        for batch in self._batches(sharing):
            scored = [(row, number) for row, ids in enumerate(batch) for number in sharing[ids]]
            rows = [(row, requests[number][2]) for row, number in scored]
            answers.append(self._answers(batch, rows))
            numbers += [number for _, number in scored]
            tick(len(numbers), len(requests), "request")
        told = torch.cat(answers).tolist() if answers else []
        by_number = dict(zip(numbers, told, strict=True))
        return _checked([(total, bool(greedy)) for _, (total, greedy) in sorted(by_number.items())])

    def _batches(self, inputs: dict[Inputs, Any]) -> Iterator[list[Inputs]]:
        """Yield the inputs in batches, the longest first: what is too large fails at once."""
        ordered = sorted(inputs, key=lambda ids: (-len(ids), ids))
        pass_tokens = tokens_at_once(self.model, len(ordered[0])) if ordered else 0
        start = 0
        while start < len(ordered):
            rows = rows_per_pass(len(ordered[start]), pass_tokens)
            yield ordered[start : start + rows]
            start += rows

    def _answers(self, batch: list[Inputs], scored: list[tuple[int, list[int]]]) -> Tensor:
        """Return log-likelihood and greediness, [R, 2] in fp64, of R continuations.

        ``scored``: of each the row of ``batch`` that it ends, and its tokens.
        """
        first = min(len(batch[row]) - len(tokens) for row, tokens in scored)
        padded_BT = pad_sequence([torch.tensor(ids) for ids in batch], batch_first=True)
        kept = padded_BT.shape[1] - first
        logits_BTV = self.model(
            padded_BT.to(self.device), use_cache=False, logits_to_keep=kept
        ).logits
        places = [
            (row, len(batch[row]) - len(tokens) - first + i, token)
            for row, tokens in scored
            for i, token in enumerate(tokens)
        ]
        row_N, position_N, token_N = torch.tensor(places).T.to(logits_BTV.device)
        log_p_NV = functional.log_softmax(
            logits_BTV[row_N, position_N], dim=-1, dtype=self.softmax_dtype
        )
        log_p_N = log_p_NV.gather(1, token_N[:, None])[:, 0]
        missed_N = (log_p_NV.argmax(dim=-1) != token_N).to(log_p_N.dtype)
        lengths = [len(tokens) for _, tokens in scored]
        log_p_R, missed_R = (
            pad_sequence(list(each_N.split(lengths)), batch_first=True).sum(1)
            for each_N in (log_p_N, missed_N)
        )
        return torch.stack([log_p_R.double(), (missed_R == 0).double()], dim=1)
