"""Predictions on the sealed part, by the path that `predict` takes later."""

from __future__ import annotations

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
from frostline.recipe.settings import Settings
from frostline.train import baseline
from frostline.train.refit import RefitResult
from frostline.train.study import Study


def same_outputs(study: Study, refitted: RefitResult, loaded: LoadedModel) -> None:
    """Raise BundleError unless the reloaded network answers as the trained one does, bit for bit, on real samples."""
    images = study.features.source.images
    sample = images.select(np.arange(min(len(images), study.compute.chunk)))
    trained = replace(loaded, model=refitted.saved.model, compute=study.compute)
    ours, read_back = predict_samples(trained, sample), predict_samples(loaded, sample)
    if not np.array_equal(ours, read_back):
        raise BundleError(
            f"The saved model answers differently after reloading (by {np.abs(ours - read_back).max():.2g}).",
            "The network keeps state outside its parameters and buffers; it can't be saved as it is.",
        )


def predict_baseline(study: Study, sealed: Samples) -> FloatArray:
    """The baseline, fitted on all development rows."""
    train = baseline.read_plain(study.features, study.positions(study.development))
    rows = baseline.plain_contents(sealed, study.features.source.preprocess, study.compute.threads)
    labels = study.dataset.labels[study.development]
    return baseline.fit_predict(train, labels, rows, study.classes, weigh=study.weigh_classes)


def save_checked(folder: RunFolder, study: Study, refitted: RefitResult, calibration: Calibration) -> LoadedModel:
    """Save, read back into a freshly built network, and compare: only then does it count as saved."""
    save_model(folder.path / "model", calibration.onto(refitted.saved))
    loaded = load_model(folder.path / "model", trust_code=True, device=study.compute.device)
    loaded = replace(loaded, compute=study.compute)
    same_outputs(study, refitted, loaded)
    return loaded


def open_seal(
    settings: Settings, study: Study, plan: Plan, refits: dict[str, RefitResult], loaded: LoadedModel, sealed: Samples
) -> dict[str, FloatArray]:
    """Probabilities on the sealed part: of the saved model, calibrated, and (--evaluate-all) of all others, baseline
    too, as they give them."""
    verdict = loaded.recipe["strategy"]
    tests = {verdict: predict_samples(loaded, sealed)}
    for name in refits:
        if name != verdict:
            other = replace(loaded, model=refits[name].saved.model, temperature=1.0)
            tests[name] = predict_samples(other, sealed)
    if settings.evaluate_all and any(not row.recipe.needs_network for row in plan.rows):
        tests["baseline"] = predict_baseline(study, sealed)
    return tests
