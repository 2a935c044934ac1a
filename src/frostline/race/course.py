"""A race while it is run: its plan, the function that runs trials, and the readings that grow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from frostline.base.events import Emit, Event
from frostline.base.records import Block, IntArray, Outcome
from frostline.race.candidates import Candidate, chosen_on
from frostline.race.plan import Plan, PlanRow, block_trial
from frostline.race.result import RaceResult, block_sizes, standings
from frostline.race.short import Foresight, Terms
from frostline.race.standing import Standing
from frostline.recipe.recipe import Trial

RunTrials = Callable[[Sequence[Trial]], Iterable[Outcome]]
Found = dict[str, dict[Candidate, dict[int, Outcome]]]  # what was read, by strategy, candidate and split
Purpose = Literal["block", "tune"]

NO_STEPS = Candidate(0.0)  # stands for the one way to fit a strategy that takes no steps


@dataclass(frozen=True, kw_only=True)
class Course:
    """One race while it is run: `result`, `on_blocks`, `on_inner`, `early` and `shortlist` grow.

    `on_blocks` and `on_inner`: readings on the blocks, and on the inner folds that judge where the blocks can't.
    `early`: readings at the shortest length, which are no candidates.
    `shortlist`: the candidates of a strategy that are still in question, the first choice first.
    """

    plan: Plan
    run: RunTrials
    labels: IntArray
    margin: float
    emit: Emit
    result: RaceResult
    foresight: Foresight | None = None
    on_blocks: Found = field(default_factory=dict)
    on_inner: Found = field(default_factory=dict)
    early: Found = field(default_factory=dict)
    shortlist: dict[str, list[Candidate]] = field(default_factory=dict)

    @property
    def terms(self) -> Terms:
        n_train, n_test = block_sizes(self.plan)
        return Terms(n_train=n_train, n_test=n_test, margin=self.margin, blocks=len(self.plan.race_blocks()))

    @property
    def judged(self) -> Found:
        """The readings that rates and lengths are chosen by."""
        if self.plan.inner:
            return self.on_inner
        return self.on_blocks

    def standings(self) -> list[Standing]:
        return standings(self.plan, self.result, self.labels)

    def running(self, rows: Sequence[PlanRow]) -> list[PlanRow]:
        """Return those of `rows` that neither failed nor were dropped."""
        out = {**self.result.eliminated, **self.result.failed}
        return [row for row in rows if row.recipe.name not in out]

    def read(self, found: Found, split: Block, wanted: Sequence[tuple[PlanRow, Candidate]], purpose: Purpose) -> None:
        """Run these on a split, as far as `found` doesn't have them yet. Where time runs out some stay unread."""
        asked: dict[str, tuple[str, Candidate]] = {}
        trials = []
        for row, candidate in wanted:
            name = row.recipe.name
            if split.index in found.get(name, {}).get(candidate, {}):
                continue
            trial = block_trial(row.recipe, split, candidate.rate or None, candidate.steps)
            trial = replace(trial, purpose=purpose)
            asked[trial.key] = (name, candidate)
            trials.append(trial)
        for outcome in self.run(trials):
            name, candidate = asked[outcome.key]
            found.setdefault(name, {}).setdefault(candidate, {})[split.index] = outcome

    def forget(self, block: Block) -> None:
        """Drop what was read on a block that isn't complete."""
        for readings in self.on_blocks.values():
            for by_block in readings.values():
                by_block.pop(block.index, None)

    def has(self, row: PlanRow, block: Block) -> bool:
        """True where some candidate of the strategy was read on the block."""
        return any(block.index in by_block for by_block in self.on_blocks.get(row.recipe.name, {}).values())

    def report(self) -> None:
        """Bring the outcomes of the result up to date, and tell where all strategies stand: on every block one outcome
        counts, the others were for tuning."""
        outcomes: list[Outcome] = []
        for row in self.plan.rows:
            for found in (self.early, self.on_inner):
                readings = found.get(row.recipe.name, {})
                for _, by_split in sorted(readings.items()):
                    outcomes += [replace(by_split[split], purpose="tune") for split in sorted(by_split)]
            outcomes += self._reported(row, self.on_blocks.get(row.recipe.name, {}))
        self.result.outcomes = outcomes
        self.emit(Event(kind="standing", text="", data=_standing_data(self)))

    def _reported(self, row: PlanRow, readings: Mapping[Candidate, Mapping[int, Outcome]]) -> list[Outcome]:
        """Return the outcomes of one strategy, those for tuning first; all of them are where it was dropped untuned."""
        counted: dict[int, Candidate | None] = {}
        if not row.recipe.takes_steps or row.recipe.name in self.result.chosen:
            counted = {block.index: self._counted(row, readings, block) for block in self.plan.race_blocks()}
        tuning: list[Outcome] = []
        blocks: list[Outcome] = []
        for candidate in sorted(readings):
            for index, outcome in sorted(readings[candidate].items()):
                if counted.get(index, NO_STEPS) in (candidate, None):  # None: nothing finished there
                    blocks.append(replace(outcome, purpose="block"))
                else:
                    tuning.append(replace(outcome, purpose="tune"))
        return tuning + sorted(blocks, key=lambda o: o.block)

    def _counted(
        self, row: PlanRow, readings: Mapping[Candidate, Mapping[int, Outcome]], block: Block
    ) -> Candidate | None:
        """Return the candidate that counts on a block."""
        chosen = self.result.chosen.get(row.recipe.name, NO_STEPS)
        if self.plan.inner and chosen in readings:  # the block itself must not choose
            return chosen
        judges = [judge.index for judge in self.plan.judges if not self.plan.inner]
        return chosen_on(readings, block.index, judges, self.labels)


def _standing_data(course: Course) -> dict[str, Any]:
    """Describe the race so far as an event's data, for those who watch it.

    `accuracy` is that on each block, None where the block is open; `rate` the one that is chosen so far; `forecast` the
    accuracy that was forecast over all blocks.
    """
    result = course.result
    blocks = course.plan.race_blocks()
    strategies = {}
    for row in course.plan.rows:
        name = row.recipe.name
        by_block = {o.block: o.accuracy for o in result.of(name) if o.ok}
        strategies[name] = {"accuracy": [by_block.get(b.index) for b in blocks], "rate": result.rate(name)}
    forecast = {}
    if course.foresight is not None:
        forecast = {name: s.accuracy for name, s in course.foresight.standings.items()}
    return {
        "strategies": strategies,
        "forecast": forecast,
        "dropped": sorted(result.eliminated),
        "failed": sorted(result.failed),
    }
