"""Settings of scores and of speed measurements."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from trsp.config.settings import NonNegativeInt, Settings
from trsp.config.texts import BosPolicy, TextSource

# ``auto``: as many rows as keep the device busy and fit. No result depends on it beyond rounding.
BatchSize = PositiveInt | Literal["auto"]


class PerplexitySettings(Settings):
    """Perplexity over fixed, non-overlapping windows: exp of the mean NLL of predicted tokens."""

    text: TextSource
    window_tokens: Annotated[int, Field(ge=8)] = 2048
    max_windows: PositiveInt | None = None
    bos: BosPolicy = Field(
        "auto",
        description="BOS at the start of every window; auto: when the tokenizer adds one itself; "
        "once: as auto, but of the whole text only, as published perplexities are measured",
    )


class BenchmarkSettings(Settings):
    """lm-eval tasks.

    ``data``: folder of DATA/TASK/{train,validation,test}.jsonl that stands in for the hub.
    """

    tasks: tuple[str, ...]
    limit: PositiveInt | None = Field(None, description="items per task; default: all")
    num_fewshot: NonNegativeInt | None = None
    batch_size: BatchSize = Field(
        "auto", description="items per forward pass; a number: lm-eval's own batches of that size"
    )
    data: str | None = None


class EvaluationSettings(Settings):
    """What a checkpoint is scored on."""

    perplexity: tuple[PerplexitySettings, ...] = ()
    benchmarks: BenchmarkSettings | None = None
    batch_size: BatchSize = Field("auto", description="windows per forward pass, for perplexity")


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
    )
    prompt_batch: PositiveInt = 1
    prompt_tokens: PositiveInt = 2048
    prompt_repeats: PositiveInt = 50
    generate_batch: PositiveInt = 64
    generate_prompt_tokens: PositiveInt = 64
    generate_new_tokens: PositiveInt = 128
    generate_repeats: PositiveInt = 10

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
