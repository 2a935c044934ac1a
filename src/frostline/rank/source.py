"""One source: probes, scores of its features and forecasts, at every depth at which its network can be cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from frostline.base.errors import ModelError
from frostline.base.events import Event, ProgressEvent
from frostline.base.records import Block, Dataset, IntArray, Outcome
from frostline.base.seeds import derive_seed
from frostline.cutting.guard import one_thread
from frostline.data.contract import Samples
from frostline.data.split import inner_split
from frostline.features.store import open_store
from frostline.forecast.forecast import forecast
from frostline.models.network import Network
from frostline.planning.foresee import question_of
from frostline.planning.plan_race import all_views, want_features
from frostline.planning.prepare import make_study, make_trunk, map_network, with_lengths
from frostline.race.compare import score_interval
from frostline.race.plan import block_trial
from frostline.race.standing import Standing, standing_from
from frostline.rank import scores
from frostline.rank.record import ForeseenRecord, MeasureRecord, RankedDepthRecord, RankedSourceRecord
from frostline.recipe.recipe import Recipe
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings
from frostline.recipe.sources import RANDOM, SourceSpec
from frostline.train.feed import EVALUATION_VIEW, predict_rows, reader
from frostline.train.study import Study
from frostline.train.trial import run_trial

CUT_HINT = "See frostline stages SPEC, or leave this source out."
FINETUNE = "finetune"
MOST_ROWS = 2000  # samples that a score reads; of more, a stratified draw
# What a source's parts cost about, for the bar: views and features, probes with scores, forecast.
FEATURES, PROBES, FORECAST = 0.35, 0.3, 0.35

Progress = Callable[[float, str], None]  # the share of this source that is done, and what it was


@dataclass(frozen=True, kw_only=True)
class RankedSource:
    """What was found of one source; `probes` are the outcomes of its probe at each stage, on all blocks."""

    record: RankedSourceRecord
    probes: Mapping[int, Sequence[Outcome]]


def source_study(settings: Settings, network: Network, dataset: Dataset, samples: Samples) -> Study:
    """Map and place the network, and join it with the data. Raises ModelError where it can't be cut anywhere."""
    model, stages = map_network(network)
    network = with_lengths(network, model, stages)
    if not any(stage.cuttable for stage in stages.stages):
        raise ModelError(f"{network.spec} can't be cut after any stage, so no features can be ranked.", CUT_HINT)
    trunk = make_trunk(settings, network, model, stages, len(dataset.development))
    return make_study(settings, dataset, samples, network, trunk, open_store(settings.store))


def scored_rows(dataset: Dataset, seed: int) -> IntArray:
    """Return the development samples that scores read: all, or a stratified draw, the same for all sources."""
    rows = dataset.development
    if len(rows) <= MOST_ROWS:
        return rows
    return inner_split(dataset, rows, fraction=MOST_ROWS / len(rows), seed=seed, block=-3)[1]


def rank_source(
    study: Study, blocks: Sequence[Block], source: SourceSpec, *, foresees: bool, progress: Progress
) -> RankedSource:
    """Probe, score and forecast every depth of a source."""
    started = time.perf_counter()
    stages = study.stages
    depths = [stage.index for stage in stages.stages if stage.cuttable]
    probes = {stage: make_recipe(_probe_name(stage, len(stages)), stages.stages) for stage in depths}
    _compute_features(study, list(probes.values()), progress)
    outcomes: dict[int, list[Outcome]] = {}
    values: dict[int, dict[str, float]] = {}
    for place, (stage, recipe) in enumerate(probes.items()):
        progress(FEATURES + PROBES * place / len(probes), f"probe of stage {stage}")
        values[stage] = _depth_scores(study, stage)
        outcomes[stage] = [run_trial(study, block_trial(recipe, block, None)) for block in blocks]
    foreseen, reasons = _foreseen(study, blocks, foresees, progress)
    rows = [_depth_record(study, blocks, stage, outcomes[stage], values[stage], foreseen) for stage in depths]
    whole = foreseen.get(FINETUNE)
    record = RankedSourceRecord(
        label=source.label,
        spec=source.spec,
        weights=source.weights,
        weights_sha256=study.network.weights_sha256,
        fingerprint=study.network.fingerprint,
        parameters=sum(p.numel() for p in study.trunk.model.parameters()),
        stages=len(stages),
        depths=rows,
        leep=_leep(study),
        finetune=MeasureRecord(accuracy=whole.accuracy, ci=whole.ci) if whole else None,
        no_forecast=reasons,
        seconds=time.perf_counter() - started,
    )
    return RankedSource(record=record, probes=outcomes)


def _probe_name(stage: int, last: int) -> str:
    if stage == last:
        return "probe"
    return f"probe@{stage}"


def _compute_features(study: Study, recipes: Sequence[Recipe], progress: Progress) -> None:
    """Compute the pooled features of all depths in every view that a probe reads; one pass a view."""
    want_features(study, recipes)
    views = all_views(study, recipes)
    for place, view in enumerate(views):
        progress(FEATURES * place / len(views), f"features of view {place + 1} of {len(views)}")
        study.features.prepare(view)


def _depth_scores(study: Study, stage: int) -> dict[str, float]:
    """Return every score of the pooled features after a stage, in the view without augmentation."""
    rows = scored_rows(study.dataset, study.seed)
    features = study.features.pooled(stage, EVALUATION_VIEW).numpy()[study.positions(rows).numpy()].astype(np.float64)
    if not np.isfinite(features).all():
        raise ModelError(
            f"The features of {study.network.spec} after stage {stage} aren't finite, so they can't be ranked.",
            "Give other weights, or leave this source out.",
        )
    labels = study.dataset.labels[rows]
    groups = [study.dataset.samples[i].group for i in rows.tolist()]
    with one_thread():
        return {
            "knn": scores.knn(features, labels, groups),
            "logme": scores.log_me(features, labels),
            "h_score": scores.h_score(features, labels),
            "h_score_shrunk": scores.h_score_shrunk(features, labels),
            "nleep": scores.nleep(features, labels, seed=derive_seed(study.seed, "nleep", stage) % 2**32),
            "gbc": scores.gbc(features, labels),
            "transrate": scores.trans_rate(features, labels),
        }


def _leep(study: Study) -> float | None:
    """Return LEEP of the source's own head; None where it has no classes, or was never trained."""
    network = study.network
    report = network.load_report
    untrained = network.weights_name == RANDOM or (report is not None and report.head_differs)
    if network.headless is not None or untrained:
        return None
    rows = scored_rows(study.dataset, study.seed)
    read = reader(study, study.trunk.model.eval(), 0)
    return scores.leep(predict_rows(study, read, study.positions(rows)), study.dataset.labels[rows])


def _foreseen(
    study: Study, blocks: Sequence[Block], foresees: bool, progress: Progress
) -> tuple[dict[str, ForeseenRecord], dict[str, str]]:
    """Return the forecast of training everything after each depth, by strategy, and reasons where there is none."""
    stages = study.stages
    names = [f"freeze@{s.index}" for s in stages.stages if s.cuttable and s.index < len(stages)] + [FINETUNE]
    if not foresees:
        return {}, {}
    if stages.cut(len(stages)) is None:
        return {}, dict.fromkeys(names, f"the network can't be cut after its last stage: {stages[len(stages)].why_not}")

    def watch(event: Event) -> None:
        if isinstance(event, ProgressEvent):
            progress(FEATURES + PROBES + FORECAST * event.done / event.total, f"forecast: {event.text}")

    recipes = [make_recipe(name, stages.stages) for name in ("probe", *names)]
    found = forecast(question_of(study, blocks, recipes, watch))
    records = {}
    for recipe in recipes:
        judged = found.of(recipe.name)
        if judged:
            standing = standing_from(judged, study.dataset.labels, trained_parameters=0, purpose="forecast")
            measured = measure_of(standing, blocks)
            records[recipe.name] = ForeseenRecord(strategy=recipe.name, accuracy=measured.accuracy, ci=measured.ci)
    return records, dict(found.left_out)


def _depth_record(
    study: Study,
    blocks: Sequence[Block],
    stage: int,
    outcomes: Sequence[Outcome],
    values: Mapping[str, float],
    foreseen: Mapping[str, ForeseenRecord],
) -> RankedDepthRecord:
    cut = study.stages.cut_after(stage)
    strategy = f"freeze@{stage}"
    if stage == len(study.stages):
        strategy = "probe"
    return RankedDepthRecord(
        stage=stage,
        name=study.stages[stage].name,
        features=cut.shape[cut.channel_axis],
        probe=measure_of(probe_standing(outcomes, study.dataset.labels), blocks),
        forecast=foreseen.get(strategy),
        **values,
    )


def probe_standing(outcomes: Sequence[Outcome], labels: IntArray) -> Standing:
    """Return where the probe of one depth stands."""
    return standing_from(outcomes, labels, trained_parameters=0)


def measure_of(standing: Standing, blocks: Sequence[Block]) -> MeasureRecord:
    """Return a standing's accuracy with its interval."""
    n_train, n_test = mean_sizes(blocks)
    return MeasureRecord(accuracy=standing.score, ci=score_interval(standing, n_train=n_train, n_test=n_test))


def mean_sizes(blocks: Sequence[Block]) -> tuple[float, float]:
    """Return the mean numbers of samples that a block trains and judges on."""
    return (
        float(np.mean([len(block.train) for block in blocks])),
        float(np.mean([len(block.validation) for block in blocks])),
    )
