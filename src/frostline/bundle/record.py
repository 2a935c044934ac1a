"""result.json: the record of a run as typed models. Fields marked `volatile` may differ between equal runs.

The JSON schema in docs/schema/result.schema.json is made from these models and tested against them.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from frostline.bundle import parts as p

SCHEMA = 3


class RunResult(p.Record):
    """The whole record."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Annotated[int, Field(alias="schema")] = SCHEMA
    version: str
    created: p.VolatileText
    command: p.VolatileText
    seed: int
    machine: dict[str, Any]
    packages: dict[str, str]
    settings: dict[str, Any]
    data: p.DataRecord
    model: p.ModelRecord
    blocks: list[p.BlockRecord]
    strategies: list[p.StrategyRecord]
    pairs: list[p.PairRecord]
    verdict: p.VerdictRecord
    test: p.TestRecord
    audit: p.AuditRecord
    cost: p.CostRecord
    budget: p.BudgetRecord | None = None
    calibration: p.CalibrationRecord | None = None
    abstain: p.AbstainRecord | None = None
    learning_curve: p.LearningCurveRecord | None = None
    doubts: p.DoubtsRecord | None = None
    methods: p.MethodsRecord | None = None
    files: dict[str, str] = Field(default_factory=dict)  # SHA-256 of what was written, by name


def without_volatile(result: RunResult) -> dict[str, Any]:
    """The record less all that may differ between equal runs: what replays and tests compare."""
    return dict(_strip(result))


def _strip(value: Any) -> Any:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        kept = {}
        for name, info in fields.items():
            extra = info.json_schema_extra
            if not (isinstance(extra, dict) and extra.get("volatile")):
                kept[info.alias or name] = _strip(getattr(value, name))
        return kept
    if isinstance(value, dict):
        return {key: _strip(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strip(v) for v in value]
    return value
