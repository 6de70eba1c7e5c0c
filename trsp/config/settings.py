"""What all settings have in common: frozen, and strict about the keys they know."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trsp.errors import unknown_name

NonNegativeInt = Annotated[int, Field(ge=0)]
Precision = Literal["auto", "bf16", "fp32"]


class LaterSetting:
    """Marks a setting, within ``Annotated``, that was added when there were results already.

    It is left out of content keys while it is None, so that what was computed before it existed
    keeps its key. The type of such a setting allows None, its default.
    """


class Settings(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        """Refuse unknown keys, with the known ones and the nearest.

        Pydantic's own refusal names neither.
        """
        if not isinstance(data, dict):
            return data
        unknown = [str(key) for key in data if key not in cls.model_fields]
        if unknown:
            raise ValueError(
                "; ".join(unknown_name("key", key, cls.model_fields) for key in unknown)
            )
        return data
