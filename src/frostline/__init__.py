"""frostline: how much of a pre-trained network should you freeze? Measure it on your own data.

Public names load what they need when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from frostline.base import version

if TYPE_CHECKING:
    from frostline.adaptation import adapt_network
    from frostline.bundle.predict import Bundle, load
    from frostline.checkup import check_data
    from frostline.curve.run import transferability_curve
    from frostline.cutting.stages import split, stages
    from frostline.depths import forecast_depths
    from frostline.diagnosis import diagnose_shift
    from frostline.estimator import TransferClassifier
    from frostline.pipeline import Run, fit
    from frostline.pretrain.run import pretrain_network
    from frostline.rank.study import rank_sources
    from frostline.rerun import replay


_LAZY = {
    "Bundle": "frostline.bundle.predict",
    "Run": "frostline.pipeline",
    "TransferClassifier": "frostline.estimator",
    "adapt_network": "frostline.adaptation",
    "check_data": "frostline.checkup",
    "diagnose_shift": "frostline.diagnosis",
    "fit": "frostline.pipeline",
    "forecast_depths": "frostline.depths",
    "load": "frostline.bundle.predict",
    "pretrain_network": "frostline.pretrain.run",
    "rank_sources": "frostline.rank.study",
    "replay": "frostline.rerun",
    "split": "frostline.cutting.stages",
    "stages": "frostline.cutting.stages",
    "transferability_curve": "frostline.curve.run",
}

__version__ = version.VERSION

__all__ = [
    "Bundle",
    "Run",
    "TransferClassifier",
    "__version__",
    "adapt_network",
    "check_data",
    "diagnose_shift",
    "fit",
    "forecast_depths",
    "load",
    "pretrain_network",
    "rank_sources",
    "replay",
    "split",
    "stages",
    "transferability_curve",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'frostline' has no attribute {name!r}")
