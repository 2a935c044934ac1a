"""`frostline demo`: the whole question answered in two minutes, on real handwriting, with no connection (DESIGN 4.13).

The network `glyphs` has only seen letters of fonts. The data are scikit-learn's digits: 1,797 scans of 8 x 8 pixels,
written by hand (E. Alpaydin, C. Kaynak, UCI "Optical Recognition of Handwritten Digits", 1998). 1,000 of them are
sealed by a draw that is always the same; of the others a few per class are labelled, by the seed.
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
BATCH = 20  # two batches for the 40 rows of a block
THREADS = 1  # on images this small a second thread costs more than it brings


def digits() -> dict[str, Any]:
    """The scans as `frostline.fit` takes them: image uint8 (1797, 8, 8), label, split (`test`: 100 of each class)."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    labels = np.asarray(scans.target)
    split = np.full(len(labels), "train", dtype="<U5")
    for digit in range(10):
        drawn = numpy_generator(SEAL, "demo-sealed", digit).permutation(np.flatnonzero(labels == digit))
        split[drawn[:SEALED_PER_CLASS]] = "test"
    pictures = np.rint(np.asarray(scans.images) * (255 / LEVELS)).astype(np.uint8)
    return {"image": pictures, "label": [str(d) for d in labels.tolist()], "split": split.tolist()}


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
        labels_per_class: how many of the 797 scans that aren't sealed are labelled, of each digit.
        seed: draws them, and is the study's seed.
        out: RUN folder; by default runs/demo-N.
        emit: called with every event.
        data: scans in the form of :func:`digits`, by default these.
        options: further fields of the settings of a fit.

    Returns:
        Run: the folder and the record.

    Raises:
        FrostlineError: as `fit` does.
    """
    own = {"strategies": STRATEGIES, "epochs": EPOCHS, "batch_size": BATCH, "threads": THREADS, "evaluate_all": True}
    return fit(
        data or digits(),
        MODEL,
        emit=emit,
        labels_per_class=labels_per_class,
        seed=seed,
        out=Path(out) if out else next_out(Path("demo")),
        **{**own, **options},
    )


# What a row answers: its kind, and the question in words. Of several depths that one speaks which the labels favoured.
QUESTIONS = (
    ("baseline", "Is a network needed at all? Plain pixels with an RBF-SVM"),
    ("as-is", "Can a ready-made network be used as it is? It knows printed letters only, and its own digits answer"),
    ("probe", "Keep every layer frozen and train a new last layer only"),
    ("probe@", "Cut off later stages too, and put the new layer there"),
    ("freeze@", "Freeze the first stages and train the rest"),
    ("finetune", "Freeze nothing: a new last layer, and all layers move at a low rate"),
    ("lp-ft", "Two steps: first the new layer alone, then all layers"),
    ("l2sp", "All layers move, but are pulled back to where they came from"),
    ("continue", "Re-initialise nothing, the last layer included, and simply go on training"),
    ("scratch", "Forget what was learnt: every weight starts at random"),
)
OWN = "frostline fit FOLDER --model torchvision:resnet18"


def explain(result: RunResult, width: int = 100) -> str:
    """What this run says about each question, in sentences with its own figures (accuracy on the sealed scans).

    Lines are at most `width` characters long where the sentences allow it.
    """
    tested = {s.name: s for s in result.strategies if s.test is not None}
    found = [(row, words) for kind, words in QUESTIONS if (row := _speaker(kind, tested)) is not None]
    widest = max((len(row.name) for row, _ in found), default=0)
    lines = [f"What {result.data.n_development} labels and {result.test.n:,} sealed scans say (share of these right):"]
    lines += [f"  {_figure(row):.3f}  {row.name.ljust(widest)}  {words}." for row, words in found]
    said = (_transfer(tested), _freezing(tested), _chosen(result, tested))
    lines += ["", *(textwrap.fill(text, max(width, 40), subsequent_indent="  ") for text in said if text)]
    lines += ["", f"Your own images, one folder for each class:  {OWN}"]
    return "\n".join(lines) + "\n"


def _speaker(kind: str, tested: Mapping[str, StrategyRecord]) -> StrategyRecord | None:
    rows = [s for name, s in tested.items() if name == kind or (kind.endswith("@") and name.startswith(kind))]
    return max(rows, key=lambda s: (s.accuracy or 0.0, -s.operations), default=None)


def _figure(row: StrategyRecord) -> float:
    return row.test.accuracy if row.test else 0.0


def _transfer(tested: Mapping[str, StrategyRecord]) -> str:
    """What pre-training was worth."""
    if "scratch" not in tested or "finetune" not in tested:
        return ""
    gain = 100 * (_figure(tested["finetune"]) - _figure(tested["scratch"]))
    return (
        f"What the network had learnt from printed letters is worth {gain:+.1f} points here: finetune and scratch "
        "both train every layer, the one from there, the other from nothing."
    )


def _freezing(tested: Mapping[str, StrategyRecord]) -> str:
    """Whether some layers have to be frozen."""
    frozen, free = _speaker("freeze@", tested), tested.get("finetune")
    if frozen is None or free is None:
        return ""
    points = 100 * (_figure(frozen) - _figure(free))
    share = frozen.operations / free.operations
    return (
        f"Must some layers be frozen? {frozen.name} is {points:+.1f} points from finetune, for {share:.0%} of its "
        "operations."
    )


def _chosen(result: RunResult, tested: Mapping[str, StrategyRecord]) -> str:
    """What the verdict went by, and how it did."""
    name, base = result.verdict.strategy, tested.get("baseline")
    beside = f", the pixels' SVM {_figure(base):.3f}" if base else ""
    return (
        f"The verdict, {name}, was chosen by the labelled scans alone; the sealed ones were opened once, after "
        f"that: {result.test.accuracy:.3f}{beside}."
    )
