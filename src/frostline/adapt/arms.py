"""The arms of an adaptation: what each does, who described it, what it needs, and how it runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from frostline.adapt.adabn import run_adabn, statistics_layers
from frostline.adapt.companions import run_dann, run_deep_coral
from frostline.adapt.entropy import has_norms, run_entropy
from frostline.adapt.head_arms import run_coral, run_reweight
from frostline.adapt.outcome import as_is
from frostline.adapt.prior import no_predictions, no_shares, run_bbse, run_em
from frostline.adapt.self_train import run_self_train
from frostline.adapt.surgical import run_surgical, too_few_stages
from frostline.adapt.world import Adapted, World
from frostline.base.events import Emit, silent

Run = Callable[[World, Emit], Adapted]
Check = Callable[[World], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmEntry:
    """One arm.

    Attributes:
        name: as the user types it.
        term: what people call it.
        source: the paper that describes it.
        needs: what it learns from, in words.
        run: the work.
        missing: what keeps it from running in a world, as a clause; empty where nothing does.
        labelled: it learns from target labels.
    """

    name: str
    term: str
    source: str
    needs: str
    run: Run
    missing: Check = lambda _world: ""
    labelled: bool = False


def _no_batchnorm(world: World) -> str:
    if not statistics_layers(world.target.trunk.model):
        return "the network has no BatchNorm layer whose statistics could be adapted"
    return ""


def _no_source(world: World) -> str:
    if world.source is None:
        return "it needs the run's own samples, and they aren't at hand"
    return ""


def _no_norms(world: World) -> str:
    if not has_norms(world):
        return "the network has no normalisation layer whose scale and shift could be trained"
    return ""


def _surgical(third: str) -> ArmEntry:
    return ArmEntry(
        name=f"surgical-{third}",
        term=f"surgical fine-tuning of the {third} third of the stages",
        source="Lee et al. 2023",
        needs="labelled target samples",
        run=lambda world, emit: run_surgical(world, third, emit),
        missing=too_few_stages,
        labelled=True,
    )


_TABLE = (
    ArmEntry(
        name="as-is",
        term="the network as it is, no adaptation",
        source="",
        needs="nothing",
        run=lambda world, _emit: as_is(world, "as-is"),
    ),
    ArmEntry(
        name="em",
        term="label shift correction by expectation maximisation",
        source="Saerens, Latinne & Decaestecker 2002",
        needs="the classes' proportions in the source",
        run=lambda world, _emit: run_em(world),
        missing=no_shares,
    ),
    ArmEntry(
        name="bbse",
        term="label shift correction by black-box shift estimation (BBSE)",
        source="Lipton, Wang & Smola 2018",
        needs="predictions of source samples that the network didn't learn from",
        run=lambda world, _emit: run_bbse(world),
        missing=no_predictions,
    ),
    ArmEntry(
        name="adabn",
        term="adaptive batch normalisation (AdaBN)",
        source="Li et al. 2016; Schneider et al. 2020",
        needs="BatchNorm layers",
        run=lambda world, _emit: run_adabn(world),
        missing=_no_batchnorm,
    ),
    ArmEntry(
        name="coral",
        term="correlation alignment (CORAL)",
        source="Sun, Feng & Saenko 2016",
        needs="the run's own samples",
        run=lambda world, _emit: run_coral(world),
        missing=_no_source,
    ),
    ArmEntry(
        name="reweight",
        term="importance weighting",
        source="Shimodaira 2000; Bickel et al. 2009",
        needs="the run's own samples",
        run=lambda world, _emit: run_reweight(world),
        missing=_no_source,
    ),
    ArmEntry(
        name="deep-coral",
        term="Deep CORAL",
        source="Sun & Saenko 2016",
        needs="the run's own samples",
        run=run_deep_coral,
        missing=_no_source,
    ),
    ArmEntry(
        name="dann",
        term="domain-adversarial training (DANN)",
        source="Ganin et al. 2016",
        needs="the run's own samples",
        run=run_dann,
        missing=_no_source,
    ),
    ArmEntry(
        name="entropy",
        term="entropy minimisation (Tent)",
        source="Wang et al. 2021",
        needs="normalisation layers",
        run=run_entropy,
        missing=_no_norms,
    ),
    ArmEntry(
        name="self-train",
        term="class-balanced self-training with pseudo-labels",
        source="Lee 2013; Zou et al. 2018",
        needs="nothing",
        run=run_self_train,
    ),
    _surgical("first"),
    _surgical("middle"),
    _surgical("last"),
)

ARMS: Mapping[str, ArmEntry] = MappingProxyType({arm.name: arm for arm in _TABLE})
LABELLED = frozenset(name for name, arm in ARMS.items() if arm.labelled)


def why_not(world: World, name: str) -> str | None:
    """Return why an arm can't run in this world, as a clause; None where it can."""
    arm = ARMS[name]
    if arm.labelled and (world.labelled is None or not len(world.labelled)):
        return "it learns from target labels, and none may be learnt from"
    return arm.missing(world) or None


def run_arm(world: World, name: str, emit: Emit = silent) -> Adapted:
    """Run one arm. Raises TrialError where it fails in a way that says nothing about the others (divergence)."""
    started = time.perf_counter()
    adapted = ARMS[name].run(world, emit)
    return replace(adapted, seconds=time.perf_counter() - started)
