"""Predictions on the sealed part, by the same path as `frostline predict`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from frostline.base.errors import BundleError
from frostline.base.records import FloatArray
from frostline.bundle.predict import predict_samples
from frostline.bundle.runfolder import RunFolder
from frostline.bundle.saved import LoadedModel, load_model, save_model
from frostline.conclude.calibrate import Calibration
from frostline.data.contract import Samples
from frostline.race.plan import Plan
from frostline.recipe.recipe import Recipe
from frostline.recipe.settings import Settings
from frostline.train import baseline
from frostline.train.refit import RefitResult
from frostline.train.study import Study

SealedFor = Callable[[Recipe], Samples]


def same_outputs(study: Study, refitted: RefitResult, loaded: LoadedModel) -> None:
    """Raise BundleError unless the reloaded network predicts as the trained one does, bit for bit, on real samples."""
    images = study.features.source.images
    samples = images.select(np.arange(min(len(images), study.compute.chunk)))
    trained = replace(loaded, model=refitted.saved.model, compute=study.compute)
    before = predict_samples(trained, samples)
    after = predict_samples(loaded, samples)
    if not np.array_equal(before, after):
        raise BundleError(
            f"The saved model predicts differently after reloading (by {np.abs(before - after).max():.2g}).",
            "The network keeps state outside its parameters and buffers, so it can't be saved as it is.",
        )


def predict_baseline(study: Study, sealed: Samples) -> FloatArray:
    """Fit the baseline on all development rows and return its probabilities (N, C) on the sealed part."""
    train = baseline.read_plain(study.features, study.positions(study.development))
    rows = baseline.plain_contents(sealed, study.features.source.preprocess, study.compute.threads)
    labels = study.dataset.labels[study.development]
    return baseline.fit_predict(train, labels, rows, study.classes, weigh=study.weigh_classes)


def save_checked(folder: RunFolder, study: Study, refitted: RefitResult, calibration: Calibration) -> LoadedModel:
    """Save the model, read it back into a freshly built network, and compare: only then does it count as saved."""
    save_model(folder.path / "model", calibration.onto(refitted.saved))
    loaded = load_model(folder.path / "model", trust_code=True, device=study.compute.device)
    loaded = replace(loaded, compute=study.compute)
    same_outputs(study, refitted, loaded)
    return loaded


def open_seal(
    settings: Settings,
    study: Study,
    plan: Plan,
    refits: Mapping[str, RefitResult],
    loaded: LoadedModel,
    sealed: SealedFor,
) -> dict[str, FloatArray]:
    """Return probabilities on the sealed part: the saved model's, calibrated, and those of all others that were
    refitted and the baseline, uncalibrated. `sealed` gives the samples as the network of a recipe reads them.

    Other samples than the sealed ones are predicted in the same way.
    """
    verdict = loaded.recipe["strategy"]
    tests = {verdict: predict_samples(loaded, sealed(plan.row(verdict).recipe))}
    for name in refits:
        recipe = plan.row(name).recipe
        if name != verdict:
            one = study.of(recipe)
            other = replace(
                loaded,
                model=refits[name].saved.model,
                preprocess=one.network.preprocess,
                compute=one.compute,
                temperature=1.0,
            )
            tests[name] = predict_samples(other, sealed(recipe))
    plain = next((row.recipe for row in plan.rows if not row.recipe.needs_network), None)
    if settings.tests_all and plain is not None:
        tests[plain.name] = predict_baseline(study, sealed(plain))
    return tests
