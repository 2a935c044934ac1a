"""What a notebook shows of a saved model, and the pieces of HTML that such displays are made of.

They hold no script and no style sheet, load nothing, and every name in them is text.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from frostline.base.errors import BundleError
from frostline.base.hashing import hash_file
from frostline.bundle.runfolder import read_result
from frostline.bundle.saved import LoadedModel
from frostline.data.contract import Contract
from frostline.data.preprocess import Preprocess

CLASSES_SHOWN = 12
COLOURS = {"RGB": "in colour", "L": "grey"}


def isolated(text: str) -> str:
    """Escape a text for HTML; one that is written from right to left doesn't turn its surroundings."""
    if not text:
        return ""
    return f"<bdi>{html.escape(text)}</bdi>"


def html_table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return a table of cells that are HTML already; the first cell of a row is its heading."""
    left = 'style="text-align: left"'
    head = ""
    if header:
        names = "".join(f'<th scope="col" {left}>{cell}</th>' for cell in header)
        head = f"<thead><tr>{names}</tr></thead>"
    lines = []
    for name, *cells in rows:
        values = "".join(f"<td {left}>{cell}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row" {left}>{name}</th>{values}</tr>')
    return f'<div style="overflow-x: auto"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def bundle_text(loaded: LoadedModel, folder: Path | None) -> str:
    """Name a saved model in one line: strategy, network, number of classes, folder."""
    words = [repr(word) for word in _origin(loaded) if word]
    words.append(f"{len(loaded.classes)} classes")
    if folder:
        words.append(f"from {str(folder)!r}")
    return f"<frostline.Bundle {', '.join(words)}>"


def bundle_html(loaded: LoadedModel, folder: Path | None) -> str:
    """Show a saved model as a table: what it distinguishes, how it was made, how good it is, how it is used.

    `folder` is the saved model's; the record beside it has the sealed test, if it is still the record of this model.
    """
    strategy, network = _origin(loaded)
    sealed = ""
    place = ""
    if folder:
        sealed = _sealed_sentence(folder)
        place = f"<code>{isolated(str(folder))}</code>"
    facts = [
        ("classes", _class_list(loaded.classes)),
        ("strategy", isolated(strategy)),
        ("network", isolated(network)),
        ("input", _input_words(loaded.preprocess)),
        ("sealed test", sealed),
        ("unsure below", _threshold(loaded)),
        ("to predict", f"<code>bundle.predict({_sample(loaded.preprocess)})</code>"),
        ("from", place),
    ]
    return f"<p><strong>A saved model</strong></p>{html_table([fact for fact in facts if fact[1]])}"


def _origin(loaded: LoadedModel) -> tuple[str, str]:
    """Return strategy and network spec as recipe.json has them; empty where it has none."""
    source = loaded.recipe.get("source") or {}
    return str(loaded.recipe.get("strategy") or ""), str(source.get("spec") or "")


def _class_list(classes: Sequence[str]) -> str:
    names = ", ".join(isolated(name) for name in classes[:CLASSES_SHOWN])
    more = len(classes) - CLASSES_SHOWN
    if more > 0:
        names += f" and {more:,} more"
    return f"{len(classes):,}: {names}"


def _input_words(contract: Contract) -> str:
    if not isinstance(contract, Preprocess):
        return f"texts, up to {contract.length:,} tokens"
    height, width = contract.size
    colours = COLOURS.get(contract.mode, f"with {contract.channels} channels")
    return f"images, {colours}, brought to {height} x {width} pixels"


def _sample(contract: Contract) -> str:
    if not isinstance(contract, Preprocess):
        return '["a text"]'
    if contract.mode == "N":  # which no image file has
        return "arrays"
    return '["image.jpg"]'


def _threshold(loaded: LoadedModel) -> str:
    if loaded.abstain is None or loaded.abstain.threshold is None:
        return ""
    return f"a probability of {loaded.abstain.threshold:.3f}"


def _sealed_sentence(folder: Path) -> str:
    """Say how the model did on the sealed test; nothing where no record of this very model lies beside its folder."""
    try:
        result = read_result(folder.parent)
        recorded = result.files.get(f"{folder.name}/recipe.json")
        if recorded != hash_file(folder / "recipe.json"):
            return ""
    except (BundleError, OSError):
        return ""
    test = result.test
    low, high = test.ci
    return f"accuracy {test.accuracy:.3f} on {test.n:,} samples (95 % interval {low:.3f} to {high:.3f})"
