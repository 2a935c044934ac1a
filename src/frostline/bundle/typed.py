"""What every record is made of. Fields marked `volatile` may differ between equal runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

VOLATILE = Field(json_schema_extra={"volatile": True})
VolatileFloat = Annotated[float, VOLATILE]
VolatileText = Annotated[str, VOLATILE]
Interval = tuple[float, float]


class Record(BaseModel):
    """Unknown keys are refused, values can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ScoreRecord(Record):
    """A share of samples that were right, with its interval."""

    accuracy: float
    ci: Interval
