"""The RUN folder of a ranking: each source is on disk once it is done, and rank.json comes last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from frostline.base.errors import BundleError, RecipeError
from frostline.base.files import parse_json, read_regular, write_atomic, write_json
from frostline.base.hashing import hash_bytes
from frostline.bundle.runfolder import RunFolder, outcome_from
from frostline.rank.record import FILE, RankedSourceRecord, RankResult
from frostline.rank.source import RankedSource
from frostline.recipe.settings import Settings


def finished_ranking(settings: Settings, identity: Mapping[str, Any]) -> RankResult | None:
    """Return the record of a ranking that is complete already; None where there is work to do.

    Raises BundleError for a folder that holds another ranking, RecipeError for --resume without --out.
    """
    if settings.out is None:
        if settings.resume:
            raise RecipeError("--resume without --out doesn't say which run is meant.", "Give --out RUN as well.")
        return None
    path = settings.out / FILE
    if not path.is_file():
        return None
    if not settings.resume:
        raise BundleError(
            f"--out {settings.out} holds another ranking.", "Give another folder, or --resume to see it again."
        )
    result = read_ranking(path)
    wanted = json.loads(json.dumps(dict(identity)))
    changed = sorted(k for k in {*result.settings, *wanted} if result.settings.get(k) != wanted.get(k))
    if changed:
        raise BundleError(
            f"--resume: {settings.out} was made with other settings ({', '.join(changed[:4])}).",
            "Give the settings of that run, or another --out.",
        )
    return result


def read_ranking(path: Path) -> RankResult:
    """Read rank.json. Raises BundleError where it isn't one of this version."""
    try:
        return RankResult.model_validate_json(read_regular(path))
    except (ValidationError, OSError) as error:
        raise BundleError(f"{path} is not a ranking of this version.", "Run frostline rank again.") from error


def load_source(folder: RunFolder, label: str, fingerprint: str) -> RankedSource | None:
    """Return a source that an interrupted ranking finished; a damaged file counts as not finished."""
    try:
        note = parse_json(_source_file(folder, label).read_text(encoding="utf-8"))
        if hash_bytes(json.dumps(note["value"], sort_keys=True).encode()) != note["sha256"]:
            return None
        record = RankedSourceRecord.model_validate(note["value"]["record"])
        probes = {int(k): [outcome_from(o) for o in found] for k, found in note["value"]["probes"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if record.fingerprint != fingerprint:
        return None
    return RankedSource(record=record, probes=probes)


def save_source(folder: RunFolder, source: RankedSource) -> None:
    """Write a source that is done."""
    probes = {str(stage): [asdict(outcome) for outcome in found] for stage, found in source.probes.items()}
    value = json.loads(json.dumps({"record": source.record.model_dump(mode="json"), "probes": probes}))
    body = json.dumps(value, sort_keys=True).encode()
    write_json(_source_file(folder, source.record.label), {"sha256": hash_bytes(body), "value": value})


def close_ranking(folder: RunFolder, result: RankResult) -> None:
    """Write the record: a folder with rank.json is complete."""
    write_atomic(folder.path / FILE, (result.model_dump_json(indent=1, by_alias=True) + "\n").encode())
    folder.clear_work()


def _source_file(folder: RunFolder, label: str) -> Path:
    return folder.work / "sources" / f"{label}.json"
