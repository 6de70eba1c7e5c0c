"""What the engine cannot train, refused in words before anything is touched."""

from collections.abc import Collection
from typing import Any

from trsp.config import EngineSettings
from trsp.distributed.device import placement
from trsp.distributed.zero3_parameters import is_sharded
from trsp.engine.deepspeed_runtime import check_offload
from trsp.errors import InvalidInputError


def check_trainable(model: Any, settings: EngineSettings) -> None:
    """Refuse ``settings`` that cannot train ``model``, or not on this machine.

    InvalidInputError, before anything is changed.
    """
    check_one_device(placement(model))
    _check_sharding(settings, sharded=is_sharded(model))
    check_offload(settings)


def _check_sharding(settings: EngineSettings, *, sharded: bool) -> None:
    """Refuse ``settings`` that need the model's weights in another number of parts."""
    if sharded and settings.zero_stage != 3:
        raise InvalidInputError(
            f"zero_stage {settings.zero_stage} for a model whose weights are spread over the "
            "ranks; it needs ZeRO 3: set engine.zero_stage to 3, or load the model whole"
        )
    # DeepSpeed would take fp32 weights there as bf16
    if settings.offload_weights == "nvme" and not sharded:
        raise InvalidInputError(
            "offload_weights: nvme for a model that was loaded whole; it must be there from the "
            "start: load it with trsp.engine.load_sharded.load_sharded, or set offload_weights to "
            "cpu"
        )


def check_one_device(places: Collection[str]) -> None:
    """Refuse a model that lies on several devices within one process (``device.placement``)."""
    if len(places) > 1:
        raise InvalidInputError(
            f"the model is spread over {', '.join(sorted(places))}, and a training needs it on one "
            "device per process: start one process per GPU with torchrun and load it there with "
            "trsp.engine.load_sharded.load_sharded (ZeRO 3; offload_weights: cpu where it is still "
            "too large); selectors that train nothing take it as it is"
        )
