"""Finished runs for the tests of reports: small demos, and records altered in memory to what no test could train."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from frostline.cli.main import main
from frostline.demo import demo
from frostline.report.stored import Stored

STRATEGIES = "baseline,probe,probe@2,freeze@2,freeze@4,finetune,scratch"
OUTCOMES = ("worse", "undecided", "as-good", "better")
MOST = 8_000_000  # bytes of a page
IMAGE = re.compile(r"data:image/webp;base64,[A-Za-z0-9+/=]+")
NAMES_LIKE_MARKUP = [
    '<img src=x onerror="alert(1)">',
    "</table><script>alert(2)</script>",
    "\"double\" & 'single' &amp;",
    "שלום \u202eעולם",
    "🦊 and 👩\u200d🔬",
]
PLAIN_TAGS = frozenset({"meta", "img", "br", "link", "input", "hr"})  # without an end


def write_demo(out: Path, strategies: str = STRATEGIES) -> None:
    """The demo on three epochs: 50 labelled scans of ten digits, 1,000 sealed ones."""
    demo(out=out, strategies=strategies, epochs=3, batch_size=8, evaluate_all=False, store="off")


def command(*words: object) -> SimpleNamespace:
    """A command line run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


def one_sentence(done: SimpleNamespace) -> str:
    """What a refused command says: exit 2, one sentence and one hint."""
    assert done.code == 2, done.err
    assert done.out == ""
    first, *hints = done.err.splitlines()
    assert first.startswith("error: ")
    assert first.endswith(".")
    assert len(hints) == 1, done.err
    return first


def altered(stored: Stored, **changed: Any) -> Stored:
    """The run with some keys of its record changed; nothing of the original is shared."""
    result = json.loads(json.dumps(stored.result))
    return replace(stored, result={**result, **changed})


def with_classes(stored: Stored, names: Sequence[str]) -> Stored:
    """The run as if it had been on these classes: of each eight sealed samples, of which one is taken for the next."""
    count = len(names)
    confusion = [[7 * (i == j) + ((i + 1) % count == j) for j in range(count)] for i in range(count)]
    score = {"n": 8, "precision": 0.875, "recall": 0.875, "f1": 0.875}
    made = altered(stored)
    made.result["data"]["classes"] = list(names)
    per_class = [{"name": name, **score} for name in names]
    made.result["test"].update(n=8 * count, confusion=confusion, per_class=per_class)
    samples = [
        {"id": f"{name}/{part}.png", "label": name, "part": part, "sha256": "00"}
        for name in names
        for part in ("development", "sealed")
    ]
    follows = dict(zip(names, [*names[1:], names[0]], strict=True))
    predictions = [
        {"id": f"{name}/sealed.png", "label": name, "predicted": follows[name], f"p:{follows[name]}": "0.9"}
        for name in names
    ]
    image = next(entry["image"] for entry in stored.examples["samples"].values())
    kept = {row["id"]: {"label": row["label"], "image": image} for row in samples}
    shown = [f"{name}/development.png" for name in names[:12]]
    examples = {"classes": shown, "doubts": [], "mistakes": [row["id"] for row in predictions[:12]], "samples": kept}
    return replace(made, samples=samples, predictions=predictions, examples=examples)


def with_strategies(stored: Stored, names: Sequence[str]) -> Stored:
    """The run as if it had compared these: each is like one of the run's own, in turn, the first like its verdict."""
    old = stored.result["verdict"]["strategy"]
    measured = [s for s in altered(stored).result["strategies"] if s["accuracy"] is not None]
    measured.sort(key=lambda s: s["name"] != old)
    like = {name: measured[i % len(measured)]["name"] for i, name in enumerate(names)}
    entries = {s["name"]: s for s in measured}
    pairs = [
        {"a": a, "b": b, "difference": 0.1, "ci": [0.0, 0.2], "ci_samples": [0.0, 0.2], "p": 0.04, "outcome": outcome}
        for i, (a, b) in enumerate(combinations(names, 2))
        for outcome in [OUTCOMES[i % len(OUTCOMES)]]
    ]
    trials = [{**t, "strategy": name} for name in names for t in stored.trials if t["strategy"] == like[name]]
    made = altered(stored, strategies=[{**entries[like[name]], "name": name} for name in names], pairs=pairs)
    made.result["verdict"].update(strategy=names[0], best=names[0], runner_up=names[1])
    return replace(made, trials=trials)


class Page(HTMLParser):
    """A page as a reader of HTML takes it in: its elements, and the text in each place."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []  # innermost element, text
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in PLAIN_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip() and self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every element of this kind."""
        return [attributes for found, attributes in self.elements if found == tag]

    @property
    def words(self) -> str:
        """All that is there to be read, without scripts and styles."""
        return "\n".join(text for tag, text in self.texts if tag not in ("script", "style"))

    @property
    def figures(self) -> dict[str, dict[str, Any]]:
        """The figures as plotly is given them, by key; nothing in their scripts could end these."""
        found: dict[str, dict[str, Any]] = {}
        keys = [a["id"].removeprefix("data-") for a in self.all("script") if a.get("type") == "application/json"]
        texts = [text for tag, text in self.texts if tag == "script"]
        for key, text in zip(keys, texts[: len(keys)], strict=True):
            assert not {"<", ">"} & set(text)
            found[key] = json.loads(text)
        return found


def ids(parsed: Page) -> list[str]:
    return [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]


def check_parts(parsed: Page) -> None:
    """What holds for every page: anchors, one table with rows behind each figure, nothing that is fetched or run."""
    assert len(ids(parsed)) == len(set(ids(parsed)))
    anchors = [a["href"] for a in parsed.all("a")]
    assert len(anchors) >= 4
    assert {anchor[0] for anchor in anchors} == {"#"}
    assert {anchor[1:] for anchor in anchors} <= set(ids(parsed))
    plots = [a["data-figure"] for a in parsed.all("div") if "data-figure" in a]
    assert plots == list(parsed.figures)
    assert all(figure["data"] for figure in parsed.figures.values())
    assert len(parsed.all("script")) == len(plots) + 2
    assert not [a for _, attributes in parsed.elements for a in attributes if a.startswith("on")]
    assert not parsed.all("link") + parsed.all("iframe") + parsed.all("object")
    assert all(IMAGE.fullmatch(a["src"]) for _, a in parsed.elements if "src" in a)
    (policy,) = [a["content"] for a in parsed.all("meta") if "http-equiv" in a]
    assert "default-src 'none'" in policy
    check_tables(parsed)


def check_tables(parsed: Page) -> None:
    """Every figure with a plot has a table with as many rows as there is something to say, one at least."""
    tags = [tag for tag, _ in parsed.elements]
    starts = [i for i, (_, a) in enumerate(parsed.elements) if a.get("class") == "plot"]
    for start in starts:
        rest = tags[start:]
        table = rest.index("table")
        assert "section" not in rest[:table]
        body = rest[table:].index("tbody") + table
        assert rest[body + 1 : body + 3] == ["tr", "th"]
