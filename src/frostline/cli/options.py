"""The options, declared once: verbs that share an option share its words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

DATA_PANEL = "Data"
NETWORK_PANEL = "Network"
COMPARISON_PANEL = "Comparison"
TRAINING_PANEL = "Training"
OUTPUT_PANEL = "Machine and output"

SPECS = (
    "torch:FILE.py:factory, timm:NAME-or-FOLDER, torchvision:NAME, hf:NAME-or-FOLDER, keras:NAME, keras:FILE.keras, "
    "run:RUN or glyphs"
)


def value_option(panel: str, name: str, help_text: str, metavar: str) -> Any:
    """Declare an option with a value."""
    return typer.Option(name, help=help_text, metavar=metavar, rich_help_panel=panel, show_default=True)


def flag_option(panel: str, name: str, help_text: str) -> Any:
    """Declare an option without a value."""
    return typer.Option(name, help=help_text, metavar="", rich_help_panel=panel, show_default=False)


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="Images or texts: a folder (DATA/CLASS/*, or train/ val/ test/ below it) or a table."
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `frostline fit` wrote.")]
SpecArgument = Annotated[str, typer.Argument(metavar="SPEC", help=f"Network: {SPECS}.")]
FilesArgument = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILES...", help="Images or folders of images; for text, .txt files or tables with a column text."
    ),
]

ModelOption = Annotated[str, value_option(NETWORK_PANEL, "--model", f"Network: {SPECS}.", "SPEC")]
WeightsOption = Annotated[
    str | None,
    value_option(
        NETWORK_PANEL,
        "--weights",
        "Weights: a safetensors file, a state dict (FILE:KEY: one of several in it), or random.",
        "FILE|random",
    ),
]
ModelArgsOption = Annotated[
    str | None,
    value_option(NETWORK_PANEL, "--model-args", "Arguments for the network's factory, as a JSON object.", "JSON"),
]
MeanOption = Annotated[
    str | None,
    value_option(NETWORK_PANEL, "--mean", "Mean of pixel values (0 to 1): one number, or one per channel.", "M"),
]
StdOption = Annotated[
    str | None,
    value_option(NETWORK_PANEL, "--std", "Standard deviation of pixel values: one number, or one per channel.", "S"),
]
SizeOption = Annotated[
    int | None,
    value_option(
        NETWORK_PANEL, "--size", "Input size: side of the image in pixels; for text: sequence length in tokens.", "N"
    ),
]
SourcesOption = Annotated[
    str,
    value_option(
        NETWORK_PANEL,
        "--model",
        f"Network: {SPECS}. Several with commas between are compared; weights stand with each: SPEC=FILE, SPEC=random.",
        "SPEC",
    ),
]
PretrainOption = Annotated[
    Path | None,
    value_option(
        NETWORK_PANEL,
        "--pretrain",
        "Own data without labels: a copy of the network is trained on it first, and every strategy runs with both.",
        "FOLDER",
    ),
]
PretrainMethodOption = Annotated[
    str | None,
    value_option(
        NETWORK_PANEL,
        "--pretrain-method",
        "How: simclr, vicreg, rotation or denoise for images, mlm for texts. Default: simclr, mlm.",
        "NAME",
    ),
]
PretrainEpochsOption = Annotated[
    int | None,
    value_option(NETWORK_PANEL, "--pretrain-epochs", "Passes over that data. Default: the method's own.", "N"),
]
TargetOption = Annotated[
    Path | None,
    value_option(
        DATA_PANEL,
        "--target",
        "Data of another distribution: diagnose the shift, test every strategy there too, adapt the model.",
        "FOLDER",
    ),
]
SourceDataOption = Annotated[
    Path | None,
    value_option(
        DATA_PANEL,
        "--source-data",
        "Labelled data of the task that the network was trained on: its accuracy there before and after.",
        "FOLDER",
    ),
]
StagesOption = Annotated[
    Path | None,
    value_option(
        NETWORK_PANEL, "--stages", "Stages defined by hand: one `NAME MODULE` per line, or a JSON object.", "FILE"
    ),
]
SourceClassesOption = Annotated[
    Path | None,
    value_option(NETWORK_PANEL, "--source-classes", "Names of the network's own classes, one per line.", "FILE"),
]
LabelMapOption = Annotated[
    Path | None,
    value_option(
        NETWORK_PANEL,
        "--label-map",
        "JSON mapping your classes to the network's; identical names match automatically.",
        "FILE",
    ),
]

LabelsPerClassOption = Annotated[
    int | None, value_option(DATA_PANEL, "--labels-per-class", "Use only N labels per class, drawn at random.", "N")
]
MinPerClassOption = Annotated[
    int | None, value_option(DATA_PANEL, "--min-per-class", "Leave out classes with fewer than N samples.", "N")
]
PoolValidationOption = Annotated[
    bool, flag_option(DATA_PANEL, "--pool-validation", "Merge val/ into the development data, then split it again.")
]
BlocksOption = Annotated[
    int | None, value_option(DATA_PANEL, "--blocks", "Number of paired splits: folds, then further repeats.", "N")
]

StrategiesOption = Annotated[
    str,
    value_option(COMPARISON_PANEL, "--strategies", "Comma-separated names and recipe files (.json), or auto.", "a,b,c"),
]
HeadOption = Annotated[
    str,
    value_option(COMPARISON_PANEL, "--head", "New head: a linear layer, or one with a hidden layer.", "linear|mlp"),
]
MetricOption = Annotated[
    str,
    value_option(COMPARISON_PANEL, "--metric", "Metric to compare by.", "accuracy|balanced-accuracy|f1-macro|log-loss"),
]
MarginOption = Annotated[
    float,
    value_option(
        COMPARISON_PANEL, "--margin", "Accuracy to give up for a cheaper strategy; 0.01 is one percentage point.", "X"
    ),
]
PreferOption = Annotated[
    str,
    value_option(
        COMPARISON_PANEL,
        "--prefer",
        "Choose the cheapest strategy that is good enough, or the most accurate one.",
        "cheapest|accuracy",
    ),
]
BudgetOption = Annotated[
    str | None,
    value_option(
        COMPARISON_PANEL,
        "--budget",
        "Time limit, such as 90s, 10m or 1.5h; strategies that don't fit are skipped and listed.",
        "TIME",
    ),
]
AbstainOption = Annotated[
    float | None,
    value_option(
        COMPARISON_PANEL,
        "--abstain",
        "Flag low-confidence predictions so that the rest reach this accuracy, such as 0.95.",
        "X",
    ),
]
EvaluateAllOption = Annotated[
    bool, flag_option(COMPARISON_PANEL, "--evaluate-all", "Refit every strategy and test it on the sealed part.")
]
SeedOption = Annotated[
    int, value_option(COMPARISON_PANEL, "--seed", "Seed of splits, augmented views and initial weights.", "N")
]

EpochsOption = Annotated[
    int | None,
    value_option(TRAINING_PANEL, "--epochs", "Train for exactly N epochs. Default: 150 to 600 steps, chosen.", "N"),
]
LrOption = Annotated[
    float | None,
    value_option(TRAINING_PANEL, "--lr", "Learning rate of all strategies. Default: tuned for each.", "X"),
]
LayerDecayOption = Annotated[
    float | None,
    value_option(TRAINING_PANEL, "--layer-decay", "Multiply the rate by X for each stage further from the head.", "X"),
]
ClassWeightsOption = Annotated[
    bool,
    flag_option(TRAINING_PANEL, "--class-weights", "Give rare classes as much weight in training as frequent ones."),
]
BatchSizeOption = Annotated[int | None, value_option(TRAINING_PANEL, "--batch-size", "Samples per step.", "N")]
AugmentOption = Annotated[
    str | None, value_option(TRAINING_PANEL, "--augment", "Augmentation of training images.", "none|light|standard")
]
BatchnormOption = Annotated[
    str | None,
    value_option(
        TRAINING_PANEL, "--batchnorm", "BatchNorm in trained stages: frozen, statistics, affine or all.", "POLICY"
    ),
]

OutOption = Annotated[
    Path | None, value_option(OUTPUT_PANEL, "--out", "RUN folder to write. Default: runs/DATA-N.", "RUN")
]
DeviceOption = Annotated[str, value_option(OUTPUT_PANEL, "--device", "Device: auto, cpu, cuda, cuda:N or mps.", "NAME")]
PrecisionOption = Annotated[
    str, value_option(OUTPUT_PANEL, "--precision", "Arithmetic; auto depends on the hardware.", "auto|fp32|bf16")
]
ThreadsOption = Annotated[int | None, value_option(OUTPUT_PANEL, "--threads", "CPU threads. Default: at most 2.", "N")]
MaxMemoryOption = Annotated[
    str | None,
    value_option(
        OUTPUT_PANEL,
        "--max-memory",
        "Memory to use at most, such as 4GB or 60%. Default: three quarters of what is there.",
        "SIZE",
    ),
]
StoreOption = Annotated[
    str | None,
    value_option(OUTPUT_PANEL, "--store", "Folder for decoded views and activations, or off.", "DIR|off"),
]
TrustCodeOption = Annotated[
    bool, flag_option(OUTPUT_PANEL, "--trust-code", "Allow the Python code saved in a RUN folder to run.")
]
TrackOption = Annotated[
    str | None,
    value_option(
        OUTPUT_PANEL, "--track", "Also write every trial for TensorBoard to look at: RUN/tensorboard.", "tensorboard"
    ),
]
ResumeOption = Annotated[
    bool, flag_option(OUTPUT_PANEL, "--resume", "Continue an interrupted run of the same settings; needs --out.")
]
ConcludeOption = Annotated[
    bool,
    flag_option(OUTPUT_PANEL, "--conclude", "End an interrupted run with what it has measured so far; needs --out."),
]
PlainOption = Annotated[bool, flag_option(OUTPUT_PANEL, "--plain", "Plain lines, without the live table and colours.")]
JsonOption = Annotated[bool, flag_option(OUTPUT_PANEL, "--json", "Machine-readable output on stdout.")]
