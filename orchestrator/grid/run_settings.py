"""What a run may take and where its results go. None of it changes a result."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PositiveFloat,
    PositiveInt,
)

from orchestrator.grid.locations import absolute_location, expand_text_variables
from orchestrator.grid.shorthand import Bytes, read_number
from trsp.config import Settings


class PartOfCluster(Settings):
    """A part of all that a cluster can become."""

    part: float = Field(gt=0, le=1)

    @property
    def text(self) -> str:
        """The share for people: ``25% of the cluster``."""
        return f"{100 * self.part:g}% of the cluster"


class NumberOfGpus(Settings):
    """So many GPUs of a cluster, and as large a part of everything else as they are of all GPUs."""

    gpus: PositiveInt

    @property
    def text(self) -> str:
        """The share for people: ``8 GPUs``."""
        return f"{self.gpus} GPU" if self.gpus == 1 else f"{self.gpus} GPUs"


Share = PartOfCluster | NumberOfGpus


def _read_share(value: Any) -> Any:
    """Return ``0.25``, ``'25%'`` and ``'8 GPUs'`` as a mapping, and such a mapping as it came."""
    if isinstance(value, str) and (match := _GPUS.fullmatch(value)):
        return {"gpus": int(match[1])}
    if isinstance(value, Share) or (isinstance(value, dict) and value.keys() == {"gpus"}):
        return value
    if isinstance(value, dict) and value.keys() == {"part"}:
        value = value["part"]
    try:
        part = read_number(value)
    except ValueError:
        part = None
    if not isinstance(part, int | float) or not 0 < part <= 1:
        raise ValueError(
            f"{value!r} is no share of a cluster; write a part of it such as 0.25 or 25%, "
            "or a number of GPUs such as 8 GPUs"
        )
    return {"part": part}


_GPUS = re.compile(r"\s*([0-9]+)\s*GPUs?\s*", re.IGNORECASE)
ShareItem = Annotated[
    Share, BeforeValidator(_read_share, json_schema_input_type=Share | float | str)
]


class Resources(Settings):
    """What stages may take, how they are laid out and how often they may fail.
    None of it changes a result.

    ``auto`` in place of all of it: every layout is chosen by an estimate of its memory.
    """

    cpus_per_rank: PositiveInt = 1
    use_gpus: Literal["auto"] | bool = Field(
        "auto",
        description="one per rank, or a part of one where that will do; "
        "auto: where the cluster has any, or can have some",
    )
    ranks: Literal["auto"] | PositiveInt = Field(
        "auto", description="processes of a training stage; auto: as few as its memory needs"
    )
    max_ranks: PositiveInt | None = Field(
        None, description="most that a stage may be given; default: all that the cluster has"
    )
    gpu_memory: Bytes | None = Field(
        None, description="of one GPU; default: that of the cluster's type of accelerator"
    )
    share_gpus: bool = Field(
        True,
        description="whether stages that need at most half of a GPU's memory share one; "
        "false where a GPU takes one process only",
    )
    gpu_cost: Mapping[str, PositiveFloat] | None = Field(
        None,
        description="of one GPU, by Ray's types, in any unit: where there are several types, a "
        "stage has the cheapest that hold it; default: the fewest, then the smallest",
    )
    price_per_hour: PositiveFloat | None = Field(
        None,
        description="of one GPU, or of one core where there are none, in any currency: what trsp "
        "plan counts with",
    )
    memory: Bytes | None = Field(
        None,
        description="host memory that all stages together may take where there are no GPUs; "
        "default: the cluster's",
    )
    max_parallel: PositiveInt | None = Field(
        None,
        description="stages at once; default: as many as fit. Where Ray knows of no autoscaler, "
        "a number says that nodes come all the same when stages wait for them",
    )
    share: ShareItem | None = Field(
        None,
        description="the most that this grid takes of the cluster at once: a part of all that it "
        "can become, such as 25%, or a number such as 8 GPUs; default: all that others leave",
    )
    max_attempts: PositiveInt = Field(
        2, description="of a stage that makes no progress; one that does may be lost more often"
    )
    timeout_s: PositiveFloat | None = Field(
        None,
        description="wall time of one attempt of one stage, from when its process has its device; "
        "a measurement may wait as long again for that",
    )
    hang_timeout_s: PositiveFloat = Field(
        1800, description="a training stage without a step for so long hangs, and is ended"
    )
    measure_on: str | None = Field(
        None,
        description="Ray's type of accelerator that speed is measured on, for example H100; "
        "default: the type that the cluster has most of",
    )
    measure_wait_s: PositiveFloat = Field(
        1800,
        description="how long a measurement waits for others who compute on its device; "
        "then it is made all the same, and marked as noisy",
    )
    snapshot_every_s: PositiveFloat = Field(
        600, description="how much training a lost rank or node may cost"
    )
    snapshot_every_steps: PositiveInt | None = None
    hand_over: bool = Field(
        True,
        description="whether the stages of a cell that follow one another may share a process and "
        "hand the model over in memory; false: each loads it from the store, as for a debugger",
    )


def _auto_as_mapping(value: Any) -> Any:
    """Return ``auto`` as an empty mapping (every default holds), anything else as it came."""
    return {} if value == "auto" else value


ResourcesItem = Annotated[
    Resources, BeforeValidator(_auto_as_mapping, json_schema_input_type=Resources | Literal["auto"])
]
ExpandedText = Annotated[str, BeforeValidator(expand_text_variables)]


class Storage(Settings):
    store: Annotated[ExpandedText, AfterValidator(absolute_location)] = Field(
        "${TRSP_HOME:-~/.trsp}/store",
        validate_default=True,
        description="folder or URI (s3://bucket/prefix) of stage results",
    )
    keep_transfer_weights: bool = Field(
        False, description="keep stage two's weights after the checkpoint is written"
    )


class Tracking(Settings):
    uri: ExpandedText = Field(
        "sqlite:///${TRSP_HOME:-~/.trsp}/mlflow.db",
        validate_default=True,
        description="MLflow tracking URI",
    )
    experiment: str = Field("trsp", min_length=1)
    shared_aliases: bool = Field(
        False,
        description="also move registry aliases without this grid's name, such as "
        "best-params-110m, which all grids of a model share",
    )
    ui_url: str | None = Field(
        None, description="where people reach the MLflow UI; for the printed links"
    )
