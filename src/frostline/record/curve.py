"""The learning curve as a part of the record: its points, the gain of the last doubling, and one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from frostline.base.records import Verdict
from frostline.bundle import schema
from frostline.conclude.learning import (
    LEAST_PER_CLASS,
    STEPPED_COST,
    Curves,
    LearningCurve,
    SizePoint,
    first_repeat,
)
from frostline.stats.curves import Gain, gain_sentence, power_law, reading_of


def curve_record(learning: LearningCurve) -> schema.LearningCurveRecord:
    """Compose the record of the curves, with a sentence on whether more labels would help."""
    curves = learning.curves
    verdict = learning.verdict
    points = {name: curves.points(name) for name in learning.names}
    records = [schema.CurveRecord(name=name, points=list(map(_point_record, points[name]))) for name in points]
    gain = _first_gain(learning)
    if gain is None:
        sentence = _why_none(curves)
        return schema.LearningCurveRecord(sentence=sentence, reading=None, gain=None, projection=None, curves=records)
    projection = _projection(curves, points[gain.strategy])
    projected = None
    if projection:
        projected = projection.accuracy - points[gain.strategy][-1].accuracy
    sentence = gain_sentence(gain, instead=_alternative(curves, verdict), projected=projected)
    if gain.strategy != verdict.strategy:
        why = _why_other(curves, verdict, limited=learning.limited)
        sentence = f"{why}, so the curve of {gain.strategy} is shown instead. {sentence}"
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


def _first_gain(learning: LearningCurve) -> Gain | None:
    """Return the gain of the verdict, or of the best-placed network that has one."""
    for name in learning.names:
        if not learning.curves.plan.row(name).recipe.needs_network:
            continue
        gain = learning.curves.gain(name)
        if gain is not None:
            return gain
    return None


def _point_record(point: SizePoint) -> schema.CurvePointRecord:
    return schema.CurvePointRecord(labels=point.labels, blocks=point.blocks, accuracy=point.accuracy, ci=point.ci)


def _projection(curves: Curves, points: Sequence[SizePoint]) -> schema.ProjectionRecord | None:
    """Project one more doubling by the power law through the points, if each stands on a whole repeat of blocks."""
    if min(point.blocks for point in points) < len(first_repeat(curves.plan)):
        return None
    law = power_law([point.labels for point in points], [1 - point.accuracy for point in points])
    if law is None:
        return None
    labels = 2 * round(curves.size(1))
    return schema.ProjectionRecord(labels=labels, accuracy=1 - law.error(labels))


def _alternative(curves: Curves, verdict: Verdict) -> str:
    """Name what to try where labels don't help: training more layers is named only if nothing in the race did so."""
    least = curves.plan.row(verdict.strategy).recipe.frozen_stages
    deeper = [
        row.recipe
        for row in curves.plan.rows
        if row.recipe.takes_steps
        and row.recipe.frozen_stages < least
        and "reinitialised" not in row.recipe.origins
        and curves.race.of(row.recipe.name)
    ]
    if deeper or least == 0:
        return "another network"
    return "another network, or training more of its layers,"


def _why_other(curves: Curves, verdict: Verdict, *, limited: bool) -> str:
    """Say why the verdict has no curve of its own."""
    name = verdict.strategy
    if curves.plan.row(name).recipe.trains_nothing:
        return f"{name} learns nothing from labels"
    if any(t.recipe.name == name for t in curves.trials):
        return f"{name} was not finished on fewer labels"
    if limited:
        return f"{name} trains in steps, and with a budget such strategies have no learning curve"
    most = f"{100 * STEPPED_COST:.0f} %"
    return f"{name} trains in steps, which on fewer labels would cost more than {most} of the comparison"


def _why_none(curves: Curves) -> str:
    """Say why there is no learning curve."""
    if not curves.draws:
        labels = round(curves.size(1))
        return (
            f"There is no learning curve: half of a block's {labels} labels can't be drawn with {LEAST_PER_CLASS} of "
            "each class and groups kept whole."
        )
    return "There is no learning curve: no strategy that uses the network was finished on fewer labels."
