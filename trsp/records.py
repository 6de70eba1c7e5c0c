"""Results of the algorithms: what comes out. Frozen pydantic, no torch.

``layer`` is the 0-based index in the original model; seconds are wall time.
"""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A frozen result.

    Unknown keys are ignored, so that an older reader understands a newer writer's record. Numbers
    are finite: JSON knows neither NaN nor infinity, and what cannot be read back is no result.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class RoundRecord(Record):
    """One removed layer. For one-shot selectors every round is written at once.

    ``scores`` holds what the choice was made by, for every candidate of the round (the lowest
    goes): gates, influence or NLL. ``gate_steps[t]`` are all gates after step t of the round, in
    the order of ``gate_layers``, and ``lm_loss[t]`` is the loss of that step, in nats per token
    (gates selector only). ``rate_scale`` is a factor on the settings' learning rates, below 1 after
    a run that diverged.
    """

    round: int
    layer: int
    scores: dict[int, float] = {}
    gate_layers: tuple[int, ...] = ()
    gate_steps: tuple[tuple[float, ...], ...] = ()
    lm_loss: tuple[float, ...] = ()
    rate_scale: float = 1.0
    seconds: float = 0.0

    @property
    def margin(self) -> float | None:
        """The distance from the removed candidate's score to the next one's.

        None when there was no other candidate.
        """
        ordered = sorted(self.scores.values())
        return ordered[1] - ordered[0] if len(ordered) > 1 else None


class TransferRecord(Record):
    """Stage two.

    ``lm_loss``, ``drift`` (the unweighted sum over the chosen layers) and ``branch_scale`` have one
    entry per step; ``tokens`` is how many were trained on, repeats included. ``rate_scale``: see
    RoundRecord.
    """

    layers: tuple[int, ...]
    lm_loss: tuple[float, ...] = ()
    drift: tuple[float, ...] = ()
    branch_scale: tuple[float, ...] = ()
    tokens: int = 0
    rate_scale: float = 1.0
    seconds: float = 0.0


class CheckpointRecord(Record):
    """The size of a pruned (or dense) checkpoint.

    ``kv_bytes_per_token``: keys and values of one token over all layers.
    """

    removed_layers: tuple[int, ...]
    layers: int
    params: int
    size_bytes: int
    kv_bytes_per_token: int
    seconds: float = 0.0


class Score(Record):
    """A metric with its standard error over windows or items (None when it cannot be known)."""

    value: float
    stderr: float | None = None


class ItemRecord(Record):
    """One item of an evaluation: the perplexity on one text, or one benchmark task.

    ``scores``: ``perplexity``, or lm-eval's ``TASK/METRIC`` (of a group, those of its tasks too).
    ``window_nll`` of a text: mean NLL per token of every window, in nats.
    """

    scores: dict[str, Score]
    window_nll: tuple[float, ...] = ()
    seconds: float = 0.0


class EvaluationRecord(Record):
    """Scores of a checkpoint.

    ``scores``: ``perplexity/NAME`` and lm-eval's ``TASK/acc`` and ``TASK/acc_norm``; ``accuracy``
    is the mean over tasks. ``window_nll[NAME]``: mean NLL per token of every window, in nats, for
    paired comparisons between checkpoints. ``seconds``: of all items together, whenever they were
    computed.
    """

    scores: dict[str, Score]
    window_nll: dict[str, tuple[float, ...]] = {}
    seconds: float = 0.0


class Spread(Record):
    """How far apart the repeats of one latency lie; ``stdev_ms`` is 0 where there is only one."""

    repeats: int
    median_ms: float
    stdev_ms: float


class MeasurementRecord(Record):
    """Speed and memory of a checkpoint, means over the protocol's repeats.

    ``hardware`` is what the measuring process saw. ``peak_memory_bytes`` is the accelerator's peak,
    the sum of theirs where the model lies on several (so that one and many compare), or that of the
    process's resident set on CPU. ``noise`` says why the figures cannot be relied on, after
    ``attempts`` attempts; it is empty where nothing speaks against them, and None in records from
    before devices were locked and spreads kept.
    """

    hardware: str
    prompt_latency_ms: float
    prompt_tokens_per_s: float
    generate_latency_ms: float
    generate_tokens_per_s: float
    peak_memory_bytes: int
    prompt_spread: Spread | None = None
    generate_spread: Spread | None = None
    noise: str | None = None
    attempts: int = 1
    seconds: float = 0.0

    @property
    def doubt(self) -> str:
        """Why the latencies may be wrong, for people; empty where nothing is known against them."""
        if self.noise is None:
            return "measured before devices were locked: others may have computed there, too"
        return f"noisy: {self.noise}" if self.noise else ""


def lower_is_better(metric: str) -> bool:
    """Whether ``metric`` is minimised, as perplexities, latencies and sizes are, or maximised."""
    minimised = metric.startswith(("perplexity", "params", "bytes", "kv_bytes"))
    return minimised or metric.endswith(("latency_ms", "_bytes"))
