"""The options, declared once: verbs that share one share its words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA = "Data"
NETWORK = "Network"
COMPARISON = "What is compared"
TRAINING = "How it is trained"
MACHINE = "Machine and output"

SPECS = (
    "torch:FILE.py:factory, timm:NAME-or-FOLDER, torchvision:NAME, hf:NAME-or-FOLDER, keras:NAME, keras:FILE.keras, "
    "run:RUN or glyphs"
)


def _option(panel: str, name: str, help_text: str, metavar: str | None = None) -> Any:
    return typer.Option(name, help=help_text, metavar=metavar, rich_help_panel=panel, show_default=True)


def _flag(panel: str, name: str, help_text: str) -> Any:
    return typer.Option(name, help=help_text, metavar="", rich_help_panel=panel, show_default=False)


Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="Folder (DATA/CLASS/*, or train/ val/ test/ below) or table of images or texts."
    ),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `frostline fit` wrote.")]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help=f"The network: {SPECS}.")]
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILES...", help="Images or folders of them; tables with a column text, or .txt files."),
]

Model = Annotated[str, _option(NETWORK, "--model", f"The network: {SPECS}.", "SPEC")]
Weights = Annotated[
    str | None,
    _option(NETWORK, "--weights", "A safetensors file or state dict, or random.", "FILE|random"),
]
ModelArgs = Annotated[
    str | None, _option(NETWORK, "--model-args", "Arguments of the network's factory, a JSON object.", "JSON")
]
Mean = Annotated[str | None, _option(NETWORK, "--mean", "Mean of pixels (0 to 1): one number or one a channel.", "M")]
Std = Annotated[str | None, _option(NETWORK, "--std", "Deviation of pixels: one number or one a channel.", "S")]
Size = Annotated[
    int | None,
    _option(NETWORK, "--size", "Side of the images that the network reads, in pixels; for texts, places.", "N"),
]

Stages = Annotated[
    Path | None,
    _option(NETWORK, "--stages", "Stages by hand: NAME MODULE a line, or a JSON object.", "FILE"),
]

SourceClasses = Annotated[
    Path | None, _option(NETWORK, "--source-classes", "Names of the network's own classes, one a line.", "FILE")
]
LabelMap = Annotated[
    Path | None,
    _option(NETWORK, "--label-map", "Your classes to the network's, JSON; equal names need none.", "FILE"),
]

LabelsPerClass = Annotated[int | None, _option(DATA, "--labels-per-class", "Use only so many labels a class.", "N")]
MinPerClass = Annotated[int | None, _option(DATA, "--min-per-class", "Leave out classes with fewer images.", "N")]
PoolValidation = Annotated[
    bool, _flag(DATA, "--pool-validation", "Merge a given val/ into the development data and split that anew.")
]
Blocks = Annotated[int | None, _option(DATA, "--blocks", "Number of paired splits (folds, then further repeats).", "N")]

Strategies = Annotated[
    str, _option(COMPARISON, "--strategies", "auto, or names and recipe files (.json) with commas between.", "a,b,c")
]
Head = Annotated[str, _option(COMPARISON, "--head", "New head: a linear layer, or a hidden layer too.", "linear|mlp")]
Metric = Annotated[
    str,
    _option(COMPARISON, "--metric", "What is compared.", "accuracy|balanced-accuracy|f1-macro|log-loss"),
]
ClassWeights = Annotated[
    bool, _flag(TRAINING, "--class-weights", "Rare classes weigh as much as frequent ones in training.")
]
Margin = Annotated[
    float, _option(COMPARISON, "--margin", "Accuracy given away for a cheaper strategy; 0.01 is one point.", "X")
]
Prefer = Annotated[str, _option(COMPARISON, "--prefer", "What the verdict goes by.", "cheapest|accuracy")]
Budget = Annotated[
    str | None, _option(COMPARISON, "--budget", "Most time to take; what doesn't fit is left out, and said.", "TIME")
]
Abstain = Annotated[
    float | None,
    _option(COMPARISON, "--abstain", "Mark answers as unsure, so that the others are right this often.", "0.95"),
]
EvaluateAll = Annotated[
    bool,
    _flag(COMPARISON, "--evaluate-all", "Refit every strategy and test it on the sealed part too."),
]
Seed = Annotated[int, _option(COMPARISON, "--seed", "Seed of the study: splits, views, starts.", "N")]

Epochs = Annotated[int | None, _option(TRAINING, "--epochs", "Exactly so many; else a plateau ends training.", "N")]
Lr = Annotated[float | None, _option(TRAINING, "--lr", "One learning rate for all; by default each is tuned.", "X")]
LayerDecay = Annotated[
    float | None,
    _option(TRAINING, "--layer-decay", "Layer-wise rate decay: each stage learns so much slower than the next.", "X"),
]
BatchSize = Annotated[int | None, _option(TRAINING, "--batch-size", "Samples a step.", "N")]
Augment = Annotated[str | None, _option(TRAINING, "--augment", "Variation of training images.", "none|light|standard")]
Batchnorm = Annotated[
    str | None,
    _option(TRAINING, "--batchnorm", "BatchNorm of trained stages: frozen, statistics, affine or all.", "POLICY"),
]

Out = Annotated[Path | None, _option(MACHINE, "--out", "RUN folder to write; by default runs/DATA-N.", "RUN")]
Device = Annotated[str, _option(MACHINE, "--device", "auto, cpu, cuda, cuda:N or mps.", "NAME")]
Precision = Annotated[str, _option(MACHINE, "--precision", "Arithmetic; auto goes by the hardware.", "auto|fp32|bf16")]
Threads = Annotated[int | None, _option(MACHINE, "--threads", "CPU threads; by default at most 2.", "N")]
Store = Annotated[
    str | None, _option(MACHINE, "--store", "Where decoded views and activations are kept, or off.", "DIR|off")
]
TrustCode = Annotated[bool, _flag(MACHINE, "--trust-code", "Run the Python file that a RUN brings along.")]
Resume = Annotated[bool, _flag(MACHINE, "--resume", "Go on with an interrupted run of the same settings.")]
Plain = Annotated[bool, _flag(MACHINE, "--plain", "Plain lines instead of a moving bar, no colours.")]
Json = Annotated[bool, _flag(MACHINE, "--json", "Machine-readable output on stdout.")]
