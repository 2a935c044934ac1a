"""The learning curve as a part of the record: its points, what the last doubling brought, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.base.records import Verdict
from frostline.bundle import schema
from frostline.conclude.learning import FEWEST, STEPPED_COST, Curves, LearningCurve, SizePoint, first_repeat
from frostline.stats.curves import gain_sentence, power_law, reading_of


def curve_record(found: LearningCurve) -> schema.LearningCurveRecord:
    """The curves with a sentence on whether more labels would help."""
    curves, names, verdict = found.curves, found.names, found.verdict
    drawn = {name: curves.points(name) for name in names}
    records = [
        schema.CurveRecord(name=name, points=[_point_record(point) for point in points])
        for name, points in drawn.items()
    ]
    gains = [g for name in names if curves.plan.row(name).recipe.needs_network and (g := curves.gain(name)) is not None]
    if not gains:
        return schema.LearningCurveRecord(
            sentence=_why_none(curves, verdict), reading=None, gain=None, projection=None, curves=records
        )
    gain = gains[0]
    projection = _projection(curves, drawn[gain.strategy])
    more = projection.accuracy - drawn[gain.strategy][-1].accuracy if projection else None
    sentence = gain_sentence(gain, instead=_instead(curves, verdict), projected=more)
    if gain.strategy != verdict.strategy:
        sentence = f"{_why_other(curves, verdict, limited=found.limited)}, so {gain.strategy} speaks for it. {sentence}"
    return schema.LearningCurveRecord(
        sentence=sentence,
        reading=reading_of(gain.ci),
        gain=schema.GainRecord(
            strategy=gain.strategy,
            fewer=gain.fewer,
            labels=gain.labels,
            blocks=gain.blocks,
            difference=gain.difference,
            ci=gain.ci,
        ),
        projection=projection,
        curves=records,
    )


def _point_record(point: SizePoint) -> schema.CurvePointRecord:
    return schema.CurvePointRecord(labels=point.labels, blocks=point.blocks, accuracy=point.accuracy, ci=point.ci)


def _projection(curves: Curves, points: Sequence[SizePoint]) -> schema.ProjectionRecord | None:
    """One more doubling, by the power law through the points, where each stands on a whole repeat of blocks."""
    if min(point.blocks for point in points) < len(first_repeat(curves.plan)):
        return None
    law = power_law([point.labels for point in points], [1 - point.accuracy for point in points])
    labels = 2 * round(curves.size(1))
    return schema.ProjectionRecord(labels=labels, accuracy=1 - law.error(labels)) if law else None


def _instead(curves: Curves, verdict: Verdict) -> str:
    """What could be tried where labels don't help: training more layers only where nothing raced did so."""
    least = curves.plan.row(verdict.strategy).recipe.frozen_stages
    deeper = [
        row.recipe
        for row in curves.plan.rows
        if row.recipe.takes_steps
        and row.recipe.frozen_stages < least
        and "reinitialised" not in row.recipe.origins
        and curves.race.of(row.recipe.name)
    ]
    return "another network" if deeper or least == 0 else "another network, or training more of its layers,"


def _why_other(curves: Curves, verdict: Verdict, *, limited: bool) -> str:
    """Why the verdict has no smaller sizes of its own."""
    name = verdict.strategy
    if curves.plan.row(name).recipe.trains_nothing:
        return f"{name} learns nothing from labels"
    if any(t.recipe.name == name for t in curves.trials):
        return f"{name} was not finished on fewer labels"
    if limited:
        return f"{name} trains in steps, which a budget leaves out of the learning curve"
    most = f"{100 * STEPPED_COST:.0f} %"
    return f"{name} trains in steps, which on fewer labels would cost more than {most} of the comparison"


def _why_none(curves: Curves, verdict: Verdict) -> str:
    if not curves.draws:
        return (
            f"There is no learning curve: half of a block's {round(curves.size(1))} labels can't be drawn with "
            f"{FEWEST} of each class and groups kept whole."
        )
    return f"There is no learning curve: nothing that could speak for {verdict.strategy} was trained on fewer labels."
