"""Every arm on one target, and the choice among them: `frostline adapt` without its files."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from frostline.adapt.arms import run_arm, why_not
from frostline.adapt.choice import AS_IS, Choice, choose, unsuited
from frostline.adapt.judge import ArmResult, Found, mark_arms
from frostline.adapt.world import Adapted, World
from frostline.base.errors import TrialError
from frostline.base.events import Emit, Event, ProgressEvent, silent
from frostline.cutting.guard import one_thread
from frostline.stats.intervals import Interval

FEWEST_TARGET = 20  # target samples below which nothing can be shown


class Kept(Protocol):
    """Where finished arms lie, so that an interrupted run needn't repeat them."""

    def load(self, name: str, world: World) -> Adapted | None: ...

    def save(self, adapted: Adapted) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """Accuracy of an arm on the labelled target samples, each predicted without its own label."""

    accuracy: float
    ci: Interval


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptStudy:
    """All arms, the network as it is first, and the choice; `cross_validated` where target labels decided."""

    arms: tuple[ArmResult, ...]
    choice: Choice
    cross_validated: Mapping[str, CrossValidated] = field(default_factory=dict)

    @property
    def chosen(self) -> Adapted:
        return next(one.adapted for one in self.arms if one.arm == self.choice.arm and one.adapted is not None)


def adapt_world(
    world: World,
    arms: Sequence[str],
    found: Found,
    *,
    all_run: bool = False,
    kept: Kept | None = None,
    emit: Emit = silent,
) -> AdaptStudy:
    """Run the arms, score each without target labels, and choose.

    The network as it is always takes part. An arm that can't run, doesn't fit the situation, or whose training
    diverges, is a result with its reason; with `all_run` those that don't fit run too, but can't be chosen. Finished
    arms are taken from `kept` and put there.
    """
    names = [AS_IS, *(name for name in arms if name != AS_IS)]
    nothing = found.nothing or _few_samples(world)
    barred = dict.fromkeys(names[1:], nothing)
    if not nothing:
        barred = barred_arms(world, names[1:], found, all_run=all_run)
    results = run_arms(world, names, barred, kept=kept, emit=emit)
    if nothing:
        return AdaptStudy(arms=tuple(results), choice=choose([], [nothing]))
    with one_thread():
        marked = mark_arms(world, results, found)
    left_out = [one.reason for one in results if one.reason is not None]
    choice = choose([one.marks for one in marked if one.marks is not None], left_out)
    return AdaptStudy(arms=tuple(marked), choice=choice)


def _few_samples(world: World) -> str:
    count = len(world.target.development)
    if count >= FEWEST_TARGET:
        return ""
    return f"{count} target samples are too few to show anything (at least {FEWEST_TARGET})"


def barred_arms(world: World, names: Sequence[str], found: Found, *, all_run: bool) -> dict[str, str]:
    """Return the arms that won't run, with the reason as a clause."""
    barred: dict[str, str] = {}
    for name in names:
        reason = why_not(world, name) or ""
        if not all_run:
            reason = unsuited(name, found.situation, covariate_left=found.covariate_left) or reason
        if reason:
            barred[name] = reason.rstrip(".")
    return barred


def run_arms(
    world: World, names: Sequence[str], barred: Mapping[str, str], *, kept: Kept | None, emit: Emit
) -> list[ArmResult]:
    """Run one arm after another, with progress in arms."""
    results = []
    tell = ArmMeter(emit, names)
    for place, name in enumerate(names):
        reason = barred.get(name)
        if reason is not None:
            results.append(ArmResult(arm=name, reason=reason))
            continue
        adapted = kept.load(name, world) if kept else None
        if adapted is None:
            try:
                adapted = run_arm(world, name, tell.of(place))
            except TrialError as error:
                emit(Event(kind="warning", text=f"{name}: {error.message}"))
                results.append(ArmResult(arm=name, reason=error.message.rstrip(".")))
                continue
            if kept:
                kept.save(adapted)
            emit(Event(kind="adapted", text=f"{name} is done", data={"arm": name}))
        else:
            tell.known += 1
        results.append(ArmResult(arm=name, adapted=adapted))
    return results


@dataclass(slots=True)
class ArmMeter:
    """Progress in arms, with the time left at the speed so far; `known` arms were taken from an interrupted run."""

    emit: Emit
    names: Sequence[str]
    known: int = 0
    started: float = field(default_factory=time.perf_counter)

    def of(self, place: int) -> Callable[[Event], None]:
        """Return what takes the events of one arm: its progress becomes that of the whole."""

        def tell(event: Event) -> None:
            if not isinstance(event, ProgressEvent):
                self.emit(event)
                return
            done = place + event.done / max(event.total, 1e-9)
            left = None
            if done > self.known:
                spent = time.perf_counter() - self.started
                left = spent / (done - self.known) * (len(self.names) - done)
            text = f"{self.names[place]}: {event.text}"
            total = float(len(self.names))
            self.emit(ProgressEvent(kind="progress", text=text, done=done, total=total, seconds_left=left))

        return tell
