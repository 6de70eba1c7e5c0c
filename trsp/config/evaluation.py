"""Settings of scores and of speed measurements."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from trsp.config.settings import NonNegativeInt, Settings
from trsp.config.texts import BosPolicy, TextSource

# ``auto``: as many rows as keep the device busy and fit. No result depends on it beyond rounding.
BatchSize = PositiveInt | Literal["auto"]


class PerplexitySettings(Settings):
    """Perplexity over fixed, non-overlapping windows: exp of the mean NLL of predicted tokens."""

    text: TextSource = Field(
        description="the text that is scored: held out, never the calibration's own rows",
        examples=[{"name": "c4", "path": "/data/c4.jsonl"}],
    )
    window_tokens: Annotated[int, Field(ge=8)] = Field(
        2048,
        description="tokens per window; perplexities compare only at the same length",
        examples=[512],
    )
    max_windows: PositiveInt | None = Field(
        None,
        description="score only the first so many windows; fewer are faster and have a larger "
        "standard error; default: the whole text",
        examples=[256],
    )
    bos: BosPolicy = Field(
        "auto",
        description="token that begins a sequence (BOS), at the start of every window: always, "
        "never, auto (where the tokenizer adds one itself), or once: as auto, but at the start "
        "of the whole text only, as published perplexities are measured",
        examples=["once"],
    )


class BenchmarkSettings(Settings):
    """lm-eval tasks.

    ``data``: folder of DATA/TASK/{train,validation,test}.jsonl that stands in for the hub.
    """

    tasks: tuple[str, ...] = Field(
        description="names of lm-eval tasks; accuracy is the mean over them",
        examples=[["piqa", "arc_easy"]],
    )
    limit: PositiveInt | None = Field(
        None,
        description="only the first so many items of each task, for a quick look; default: all",
        examples=[200],
    )
    num_fewshot: NonNegativeInt | None = Field(
        None,
        description="solved examples before each item; default: what the task says",
        examples=[0],
    )
    batch_size: BatchSize = Field(
        "auto",
        description="items per forward pass. auto: as many as keep the device busy and fit; "
        "a number: lm-eval's own batches of that size",
        examples=[8],
    )
    data: str | None = Field(
        None,
        description="folder with TASK/{train,validation,test}.jsonl, read in place of the hub: "
        "for machines without network, and to pin the rows; default: the hub",
        examples=["/data/benchmarks"],
    )


class EvaluationSettings(Settings):
    """What a checkpoint is scored on."""

    perplexity: tuple[PerplexitySettings, ...] = Field(
        (),
        description="texts whose perplexity is measured, each a metric perplexity/NAME; the "
        "first is what budgets choose by. Give one that nothing was trained on, too",
        examples=[[{"text": {"name": "c4", "path": "/data/c4.jsonl"}, "max_windows": 256}]],
    )
    benchmarks: BenchmarkSettings | None = Field(
        None,
        description="lm-eval tasks, each a metric TASK/acc or the like, and their mean, accuracy; "
        "default: none",
        examples=[{"tasks": ["piqa", "arc_easy"]}],
    )
    batch_size: BatchSize = Field(
        "auto",
        description="windows per forward pass of a perplexity. auto: as many as keep the device "
        "busy and fit. No score depends on it beyond rounding",
        examples=[4],
    )


class MeasurementSettings(Settings):
    """Speed and memory of a checkpoint.

    ``paper``: the published protocol (docs/method.md, section 3); ``small``: seconds on a CPU;
    ``auto``: ``paper`` on a GPU and ``small`` on a CPU; ``none``: not measured. Other keys replace
    the protocol's own values.
    """

    protocol: Literal["auto", "paper", "small", "none"] = Field(
        "auto",
        description="paper: the published one, whose values are the other keys' defaults; "
        "small: seconds on a CPU; auto: paper on a GPU, small on a CPU; none: nothing is measured",
        examples=["small"],
    )
    prompt_batch: PositiveInt = Field(
        1, description="prompts per forward pass whose latency is taken", examples=[4]
    )
    prompt_tokens: PositiveInt = Field(
        2048,
        description="length of the prompt that is timed, in tokens (small: 128)",
        examples=[512],
    )
    prompt_repeats: PositiveInt = Field(
        50,
        description="timed forward passes over the prompt; latency_ms is their mean (small: 20)",
        examples=[30],
    )
    generate_batch: PositiveInt = Field(
        64, description="sequences that are generated together (small: 2)", examples=[16]
    )
    generate_prompt_tokens: PositiveInt = Field(
        64, description="tokens per prompt before a generation (small: 16)", examples=[32]
    )
    generate_new_tokens: PositiveInt = Field(
        128, description="tokens generated per sequence, greedily (small: 16)", examples=[64]
    )
    generate_repeats: PositiveInt = Field(
        10, description="timed generations; the rate is of their mean (small: 3)", examples=[5]
    )

    @model_validator(mode="before")
    @classmethod
    def _protocol(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("protocol") == "small":
            return {**SMALL_MEASUREMENT, **data}
        return data

    @property
    def longest(self) -> int:
        """The tokens in a row that the protocol needs."""
        return max(self.prompt_tokens, self.generate_prompt_tokens + self.generate_new_tokens)

    def chosen_for(self, *, gpu: bool, positions: int | None = None) -> Self:
        """Return these settings with the protocol that ``auto`` means in its place.

        That is the published one on a GPU, for a model that can read so many tokens in a row
        (``positions``; None: any number), and else the small one.
        """
        if self.protocol != "auto":
            return self
        given = self.model_dump(include=self.model_fields_set - {"protocol"})
        paper = self.model_validate({**given, "protocol": "paper"})
        if gpu and (positions is None or paper.longest <= positions):
            return paper
        return self.model_validate({**given, "protocol": "small"})


SMALL_MEASUREMENT: dict[str, Any] = {
    "prompt_tokens": 128,
    "prompt_repeats": 20,
    "generate_batch": 2,
    "generate_prompt_tokens": 16,
    "generate_new_tokens": 16,
    "generate_repeats": 3,
}
