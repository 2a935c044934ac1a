"""`frostline demo`: a whole comparison in two minutes, on real handwriting, without a connection (docs/demo.md).

The network `glyphs` has only seen letters of printed fonts. The data are scikit-learn's digits: 1,797 scans of 8 x 8
pixels, written by hand (E. Alpaydin, C. Kaynak, UCI "Optical Recognition of Handwritten Digits", 1998). 1,000 of them
are sealed by a draw that is always the same; of the others a few per class are labelled, drawn by the seed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from frostline.base.events import Emit, silent
from frostline.base.seeds import numpy_generator
from frostline.bundle.runfolder import next_out
from frostline.bundle.schema import RunResult, StrategyRecord
from frostline.pipeline import Run, fit

MODEL = "glyphs"
SEALED_PER_CLASS = 100
SEAL = 0  # the seed of the sealed draw, which --seed never changes
LEVELS = 16  # grey levels of a scan, above 0
STRATEGIES = (
    "baseline",
    "as-is",
    "probe",
    "probe@4",
    "probe@3",
    "probe@2",
    "probe@1",
    "freeze@4",
    "freeze@3",
    "freeze@2",
    "finetune",
    "lp-ft",
    "l2sp",
    "continue",
    "scratch",
)
EPOCHS = 25
BATCH_SIZE = 20  # two batches for the 40 samples of a block
THREADS = 1  # on images this small a second thread costs more than it gains


def digits() -> dict[str, Any]:
    """Return the scans as `fit` takes them: image uint8 (1797, 8, 8), label, split (`test`: 100 per class)."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    labels = np.asarray(scans.target)
    split = np.full(len(labels), "train", dtype="<U5")
    for digit in range(10):
        drawn = numpy_generator(SEAL, "demo-sealed", digit).permutation(np.flatnonzero(labels == digit))
        split[drawn[:SEALED_PER_CLASS]] = "test"
    images = np.rint(np.asarray(scans.images) * (255 / LEVELS)).astype(np.uint8)
    return {"image": images, "label": [str(d) for d in labels.tolist()], "split": split.tolist()}


def demo(
    *,
    labels_per_class: int = 5,
    seed: int = 0,
    out: str | Path | None = None,
    emit: Emit = silent,
    data: Mapping[str, Any] | None = None,
    **options: Any,
) -> Run:
    """Compare ways of re-using `glyphs` on handwritten digits, with a few labels per class.

    Args:
        labels_per_class: how many scans of each digit are labelled, of the 797 that aren't sealed.
        seed: seed of that draw, and of the study.
        out: RUN folder; by default runs/demo-N.
        emit: called with every event.
        data: scans in the form of :func:`digits`, by default these.
        options: further fields of the settings of a fit.

    Returns:
        Run: the folder and the record.

    Raises:
        FrostlineError: as `fit` does.
    """
    defaults = {
        "strategies": STRATEGIES,
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "threads": THREADS,
        "evaluate_all": True,
    }
    if out is None and not options.get("resume"):  # to resume, the run has to be named
        out = next_out(Path("demo"))
    return fit(
        data or digits(),
        MODEL,
        emit=emit,
        labels_per_class=labels_per_class,
        seed=seed,
        out=out,
        **{**defaults, **options},
    )


# Kinds of strategies, and the question that each answers. Of several depths the one that the labels favour is shown.
QUESTIONS = (
    ("baseline", "Is a network needed at all? Plain pixels with an RBF-SVM"),
    ("as-is", "Can a ready-made network be used as it is? It knows printed letters only, and its own digits are used"),
    ("probe", "Keep every layer frozen and train a new last layer only"),
    ("probe@", "Cut off later stages too, and put the new layer there"),
    ("freeze@", "Freeze the first stages and train the rest"),
    ("finetune", "Freeze nothing: a new last layer, and all layers are trained at a low rate"),
    ("lp-ft", "Two steps: first the new layer alone, then all layers"),
    ("l2sp", "Train all layers, but pull them back towards the weights they started from"),
    ("continue", "Re-initialise nothing, not even the last layer, and simply continue training"),
    ("scratch", "Forget what was learnt: every weight starts at random"),
)
OWN_COMMAND = "frostline fit FOLDER --model torchvision:resnet18"


def explain(result: RunResult, width: int = 100) -> str:
    """Answer each question in a sentence with this run's figures (accuracy on the sealed scans).

    Lines are at most `width` characters long where the sentences allow it.
    """
    tested = {s.name: s for s in result.strategies if s.test is not None}
    answers = []
    for kind, question in QUESTIONS:
        strategy = _best_of_kind(kind, tested)
        if strategy is not None:
            answers.append((strategy, question))
    widest = max((len(strategy.name) for strategy, _ in answers), default=0)
    lines = [f"What {result.data.n_development} labels show (accuracy on {result.test.n:,} sealed scans):"]
    lines += [f"  {_sealed_accuracy(s):.3f}  {s.name.ljust(widest)}  {question}." for s, question in answers]
    sentences = (_transfer_sentence(tested), _freezing_sentence(tested), _verdict_sentence(result, tested))
    lines += ["", *(textwrap.fill(text, max(width, 40), subsequent_indent="  ") for text in sentences if text)]
    lines += ["", f"Your own images, one folder for each class:  {OWN_COMMAND}"]
    return "\n".join(lines) + "\n"


def _best_of_kind(kind: str, tested: Mapping[str, StrategyRecord]) -> StrategyRecord | None:
    """Return the strategy of this kind (of any depth, for a kind like `freeze@`) that did best on the blocks."""
    if kind.endswith("@"):
        strategies = [s for name, s in tested.items() if name.startswith(kind)]
    else:
        strategies = [s for name, s in tested.items() if name == kind]
    return max(strategies, key=lambda s: (s.accuracy or 0.0, -s.operations), default=None)


def _sealed_accuracy(strategy: StrategyRecord) -> float:
    return strategy.test.accuracy if strategy.test else 0.0


def _transfer_sentence(tested: Mapping[str, StrategyRecord]) -> str:
    """Say what pre-training was worth."""
    if "scratch" not in tested or "finetune" not in tested:
        return ""
    gain = 100 * (_sealed_accuracy(tested["finetune"]) - _sealed_accuracy(tested["scratch"]))
    return (
        f"What the network had learnt from printed letters is worth {gain:+.1f} points here: finetune and scratch "
        "both train every layer, finetune from the pre-trained weights, scratch from random ones."
    )


def _freezing_sentence(tested: Mapping[str, StrategyRecord]) -> str:
    """Say whether some layers have to be frozen."""
    frozen = _best_of_kind("freeze@", tested)
    free = tested.get("finetune")
    if frozen is None or free is None:
        return ""
    points = 100 * (_sealed_accuracy(frozen) - _sealed_accuracy(free))
    share = frozen.operations / free.operations
    return (
        f"Must some layers be frozen? {frozen.name} is {points:+.1f} points from finetune, for {share:.0%} of its "
        "operations."
    )


def _verdict_sentence(result: RunResult, tested: Mapping[str, StrategyRecord]) -> str:
    """Say what the verdict was chosen by, and how it did."""
    text = (
        f"The verdict, {result.verdict.strategy}, was chosen by the labelled scans alone; the sealed ones were opened "
        f"once, after that: {result.test.accuracy:.3f}"
    )
    if "baseline" in tested:
        text += f", the SVM on pixels {_sealed_accuracy(tested['baseline']):.3f}"
    return text + "."
