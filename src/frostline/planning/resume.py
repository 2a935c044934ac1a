"""Where a run is written: a new folder, one that is taken up again, or one that is complete already."""

from __future__ import annotations

from pathlib import Path

from frostline.base.errors import RecipeError
from frostline.base.files import write_atomic
from frostline.bundle.origin import KEPT
from frostline.bundle.runfolder import (
    RunFolder,
    check_out,
    finished_run,
    is_begun,
    make_next_out,
    open_run,
)
from frostline.bundle.schema import RunResult
from frostline.planning.choose import ChosenRecipes
from frostline.planning.prepare import input_hash
from frostline.race.result import RaceResult
from frostline.recipe.settings import Settings, option
from frostline.train.study import Study


def check_resumed(settings: Settings, out: Path) -> RunResult | None:
    """Refuse a folder that can't be written or resumed; return the record of a run that is complete already.

    Raises RecipeError where the settings don't say which run is meant, BundleError for a folder with something else in
    it, or with a run of other settings.
    """
    check_out(out, resume=settings.continues)
    if not settings.continues:
        return None
    if settings.out is None:
        word = option("conclude") if settings.conclude else option("resume")
        raise RecipeError(f"{word} without --out doesn't say which run is meant.", "Give --out RUN as well.")
    if settings.conclude and not is_begun(out):
        raise RecipeError(f"--conclude: {out} holds no interrupted run.", "Leave --conclude out to begin one.")
    return finished_run(out, settings.identity())


def check_measured(race: RaceResult, folder: RunFolder) -> None:
    """Refuse to conclude a run in which no strategy has come to an end.

    Raises RecipeError.
    """
    done = {o.strategy for o in race.outcomes if o.purpose == "block" and o.ok} - {"baseline", *race.eliminated}
    if not done:
        raise RecipeError(
            f"--conclude: the run in {folder.path} was stopped before any strategy had finished a block.",
            "Go on with --resume instead.",
        )


def begin(settings: Settings, out: Path, study: Study, chosen: ChosenRecipes) -> RunFolder:
    """Make the folder, or continue an interrupted one; the user's own files are kept in it as they were read.

    Where the user named none it may be another one than `out`, if a run that was begun meanwhile has taken that.
    """
    by_hand = {"stages": settings.stages.read_bytes()} if settings.stages else {}
    inputs = input_hash(study, {**chosen.files, **by_hand})
    taken_up = settings.continues or settings.pretrain is not None  # whose checkpoint lies there already
    if settings.out is None and not taken_up:
        out = make_next_out(settings.data)
    folder = open_run(out, settings.identity(), inputs=inputs, resume=taken_up)
    for name, content in chosen.files.items():
        write_atomic(folder.path / "recipes" / f"{name}.json", content)
    for setting, name in KEPT.items():
        file = getattr(settings, setting)
        if file is not None:
            write_atomic(folder.path / name, file.read_bytes())
    return folder
