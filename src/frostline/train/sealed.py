"""Predictions on the sealed part, by the path that `predict` takes later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from frostline.base.errors import BundleError
from frostline.base.records import FloatArray
from frostline.bundle.predict import predict_pictures
from frostline.bundle.saved import Loaded
from frostline.data.decode import Pictures
from frostline.data.views import augment_policy, make_views
from frostline.train import baseline
from frostline.train.feed import EVALUATION_VIEW
from frostline.train.refit import Fitted
from frostline.train.study import Study


def same_outputs(study: Study, fitted: Fitted, loaded: Loaded) -> None:
    """Raise BundleError unless the reloaded network answers as the trained one does, bit for bit, on real samples."""
    pictures = study.features.source.pictures
    sample = pictures.select(np.arange(min(len(pictures), study.compute.chunk)))
    trained = replace(loaded, model=fitted.finished.model, compute=study.compute)
    ours, read_back = predict_pictures(trained, sample), predict_pictures(loaded, sample)
    if not np.array_equal(ours, read_back):
        raise BundleError(
            f"The saved model answers differently after reloading (by {np.abs(ours - read_back).max():.2g}).",
            "The network keeps state outside its parameters and buffers; it can't be saved as it is.",
        )


def predict_baseline(study: Study, sealed: Pictures) -> FloatArray:
    """The baseline, fitted on all development rows."""
    train = baseline.grey_pixels(study.features.pictures(study.positions(study.development), EVALUATION_VIEW))
    preprocess = study.features.source.preprocess
    views = make_views(sealed, [""] * len(sealed), preprocess, augment_policy("none", preprocess), seed=0,
                       view=EVALUATION_VIEW, threads=study.compute.threads)  # fmt: skip
    labels = study.dataset.labels[study.development]
    return baseline.fit_predict(train, labels, baseline.grey_pixels(torch.from_numpy(views)), study.classes,
                                weigh=study.weigh_classes)  # fmt: skip
