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

    part: float = Field(gt=0, le=1, description="the share of it, as 25% or 0.25", examples=[0.25])

    @property
    def text(self) -> str:
        """The share for people: ``25% of the cluster``."""
        return f"{100 * self.part:g}% of the cluster"


class NumberOfGpus(Settings):
    """So many GPUs of a cluster, and as large a part of everything else as they are of all GPUs."""

    gpus: PositiveInt = Field(description="how many, as 8 GPUs", examples=[8])

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

    cpus_per_rank: PositiveInt = Field(
        1,
        description="CPU cores of each process of a stage: its threads where there is no GPU, "
        "and what loads texts and weights beside one",
        examples=[8],
    )
    use_gpus: Literal["auto"] | bool = Field(
        "auto",
        description="true: one per rank, or a part of one where that will do; false: CPUs alone; "
        "auto: where the cluster has any, or can have some",
        examples=[True],
    )
    ranks: Literal["auto"] | PositiveInt = Field(
        "auto",
        description="processes of a training stage; auto: as few as its memory needs. No result "
        "depends on it beyond rounding",
        examples=[4],
    )
    max_ranks: PositiveInt | None = Field(
        None,
        description="most processes that a stage may be given; default: all that the cluster has",
        examples=[64],
    )
    gpu_memory: Bytes | None = Field(
        None,
        description="memory of one GPU; default: that of the cluster's type of accelerator",
        examples=["80GB"],
    )
    share_gpus: bool = Field(
        True,
        description="whether stages that need at most half of a GPU's memory share one; "
        "false where a GPU takes one process only",
        examples=[False],
    )
    gpu_cost: Mapping[str, PositiveFloat] | None = Field(
        None,
        description="cost of one GPU, by Ray's types, in any unit: where there are several types, "
        "a stage has the cheapest that hold it; default: the fewest, then the smallest",
        examples=[{"H100": 4.0, "A10G": 1.0}],
    )
    price_per_hour: PositiveFloat | None = Field(
        None,
        description="price of one GPU, or of one core where there are none, in any currency, which "
        "trsp plan counts with; default: no money is counted",
        examples=[2.5],
    )
    memory: Bytes | None = Field(
        None,
        description="host memory that all stages together may take where there are no GPUs; "
        "default: the cluster's",
        examples=["7GB"],
    )
    max_parallel: PositiveInt | None = Field(
        None,
        description="stages at once; default: as many as fit. Where Ray knows of no autoscaler, "
        "a number says that nodes come all the same when stages wait for them",
        examples=[4],
    )
    share: ShareItem | None = Field(
        None,
        description="the most that this grid takes of the cluster at once: a part of all that it "
        "can become, such as 25%, or a number such as 8 GPUs; default: all that others leave",
        examples=["25%"],
    )
    max_attempts: PositiveInt = Field(
        2,
        description="attempts of a stage that makes no progress; one that does may be lost more "
        "often",
        examples=[3],
    )
    timeout_s: PositiveFloat | None = Field(
        None,
        description="seconds that one attempt of a stage may take, from when its process has its "
        "device; a measurement may wait as long again for that; default: any number",
        examples=[28800],
    )
    hang_timeout_s: PositiveFloat = Field(
        1800,
        description="a training stage without a step for so many seconds hangs, and is ended",
        examples=[600],
    )
    measure_on: str | None = Field(
        None,
        description="Ray's type of accelerator that speed is measured on; default: the type that "
        "the cluster has most of",
        examples=["H100"],
    )
    measure_wait_s: PositiveFloat = Field(
        1800,
        description="seconds that a measurement waits for others who compute on its device; "
        "then it is made all the same, and marked as noisy",
        examples=[600],
    )
    snapshot_every_s: PositiveFloat = Field(
        600,
        description="seconds of training that a lost rank or node may cost: how often a snapshot "
        "is taken (docs/snapshots.md)",
        examples=[1200],
    )
    snapshot_every_steps: PositiveInt | None = Field(
        None,
        description="take a snapshot also after so many steps; default: by time alone",
        examples=[100],
    )
    hand_over: bool = Field(
        True,
        description="whether the stages of a cell that follow one another may share a process and "
        "hand the model over in memory; false: each loads it from the store, as for a debugger",
        examples=[False],
    )


def _auto_as_mapping(value: Any) -> Any:
    """Return ``auto`` as an empty mapping (every default holds), anything else as it came."""
    return {} if value == "auto" else value


ResourcesItem = Annotated[
    Resources, BeforeValidator(_auto_as_mapping, json_schema_input_type=Resources | Literal["auto"])
]
ExpandedText = Annotated[str, BeforeValidator(expand_text_variables)]


class Storage(Settings):
    """Where results are kept, and which of them."""

    store: Annotated[ExpandedText, AfterValidator(absolute_location)] = Field(
        "${TRSP_HOME:-~/.trsp}/store",
        validate_default=True,
        description="folder or bucket (s3://, gs://) of all results, which every node reaches. "
        "Grids that share one share equal work",
        examples=["s3://bucket/trsp"],
    )
    keep_transfer_weights: bool = Field(
        False,
        description="keep stage two's weights, as large as the whole model, after the checkpoint "
        "is written",
        examples=[True],
    )


class Tracking(Settings):
    """Where MLflow shows the grid."""

    uri: ExpandedText = Field(
        "sqlite:///${TRSP_HOME:-~/.trsp}/mlflow.db",
        validate_default=True,
        description="MLflow's tracking URI: a server that the driver reaches, or a local database",
        examples=["http://mlflow:5000"],
    )
    experiment: str = Field(
        "trsp",
        min_length=1,
        description="MLflow's experiment, made where there is none; the leaderboard is one's",
        examples=["trsp-7b"],
    )
    shared_aliases: bool = Field(
        False,
        description="also move registry aliases without this grid's name, such as "
        "best-params-110m, which all grids of a model share",
        examples=[True],
    )
    ui_url: str | None = Field(
        None,
        description="where people reach MLflow's pages, for the printed links; default: this "
        "machine's port 5000",
        examples=["https://mlflow.example.org"],
    )
