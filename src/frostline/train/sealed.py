"""Predictions on the sealed part, by the path that `predict` takes later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from frostline.base.errors import BundleError
from frostline.base.records import FloatArray
from frostline.bundle.predict import predict_samples
from frostline.bundle.saved import Loaded
from frostline.data.contract import Samples
from frostline.train import baseline
from frostline.train.refit import Fitted
from frostline.train.study import Study


def same_outputs(study: Study, fitted: Fitted, loaded: Loaded) -> None:
    """Raise BundleError unless the reloaded network answers as the trained one does, bit for bit, on real samples."""
    pictures = study.features.source.pictures
    sample = pictures.select(np.arange(min(len(pictures), study.compute.chunk)))
    trained = replace(loaded, model=fitted.finished.model, compute=study.compute)
    ours, read_back = predict_samples(trained, sample), predict_samples(loaded, sample)
    if not np.array_equal(ours, read_back):
        raise BundleError(
            f"The saved model answers differently after reloading (by {np.abs(ours - read_back).max():.2g}).",
            "The network keeps state outside its parameters and buffers; it can't be saved as it is.",
        )


def predict_baseline(study: Study, sealed: Samples) -> FloatArray:
    """The baseline, fitted on all development rows."""
    train = baseline.read_plain(study.features, study.positions(study.development))
    rows = baseline.plain(sealed, study.features.source.preprocess, study.compute.threads)
    labels = study.dataset.labels[study.development]
    return baseline.fit_predict(train, labels, rows, study.classes, weigh=study.weigh_classes)
