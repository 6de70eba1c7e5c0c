"""What a run may take and where its results go. None of it changes a result."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat, PositiveInt

from orchestrator.grid.locations import absolute_location, expand_text_variables
from orchestrator.grid.shorthand import Bytes
from trsp.config import Settings


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
