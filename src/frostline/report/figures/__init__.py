"""The figures of a report as plotly figures: plain functions of result.json and of the files beside it.

import json
from frostline.report import figures
result = json.load(open("runs/my-images-1/result.json"))
figures.depth_figure(result)
"""

from frostline.report.figures.cost import cost_figure
from frostline.report.figures.depth import depth_figure
from frostline.report.figures.differences import differences_figure
from frostline.report.figures.elsewhere import memory_figure, target_figure
from frostline.report.figures.mistakes import confusion_figure
from frostline.report.figures.networks import networks_figure
from frostline.report.figures.probabilities import labels_figure, reliability_figure
from frostline.report.figures.stages import stages_figure, treatments_figure
from frostline.report.figures.training import losses_figure, rates_figure

__all__ = [
    "confusion_figure",
    "cost_figure",
    "depth_figure",
    "differences_figure",
    "labels_figure",
    "losses_figure",
    "memory_figure",
    "networks_figure",
    "rates_figure",
    "reliability_figure",
    "stages_figure",
    "target_figure",
    "treatments_figure",
]
