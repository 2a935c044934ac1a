"""A list of networks: where an entry's weights begin, what it is called, and what is refused."""

from __future__ import annotations

import re

import pytest

from frostline.base.errors import ModelError
from frostline.recipe.sources import SourceSpec, parse_sources


@pytest.mark.parametrize(
    ("text", "spec", "weights", "label"),
    [
        ("glyphs", "glyphs", None, "glyphs"),
        ("glyphs=random", "glyphs", "random", "glyphs-random"),
        ("torch:a/model.py:net", "torch:a/model.py:net", None, "net"),
        ("torch:a/model.py:net=b/w.safetensors", "torch:a/model.py:net", "b/w.safetensors", "net"),
        ("torch:a/model.py:net=b/w.pt:ema.net", "torch:a/model.py:net", "b/w.pt:ema.net", "net"),
        ("torch:a=b/model.py:net=random", "torch:a=b/model.py:net", "random", "net-random"),
        ("timm:resnet18.a1_in1k", "timm:resnet18.a1_in1k", None, "resnet18.a1_in1k"),
        ("timm:hf-hub:org/name", "timm:hf-hub:org/name", None, "name"),
        ("hf:folder/of net/", "hf:folder/of net/", None, "of-net"),
        ("hf:runs/lr=0.1", "hf:runs/lr=0.1", None, "lr-0.1"),
        ("run:runs/ants-1", "run:runs/ants-1", None, "ants-1"),
        ("keras:nets/mine.keras", "keras:nets/mine.keras", None, "mine"),
        ("keras:MobileNet=w.weights.h5", "keras:MobileNet", "w.weights.h5", "MobileNet"),
        ("torch:ä/mödel.py:größe", "torch:ä/mödel.py:größe", None, "gr-e"),
    ],
)
def test_one_source(text: str, spec: str, weights: str | None, label: str) -> None:
    (source,) = parse_sources(text)
    assert source == SourceSpec(spec=spec, weights=weights, label=label)
    assert source.text == text


def test_labels_differ_whatever_the_list() -> None:
    text = (
        "glyphs, glyphs=random, glyphs=a/one.pt, glyphs=b/one.pt, glyphs=two.safetensors:ema, "
        "torch:a.py:glyphs-2, torch:b.py:net, torch:c.py:net, torch:d.py:net"
    )
    labels = [source.label for source in parse_sources(text)]
    assert labels == [
        "glyphs",
        "glyphs-random",
        "glyphs-one",
        "glyphs-one-2",
        "glyphs-two",
        "glyphs-2",
        "net",
        "net-2",
        "net-3",
    ]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", label) for label in labels)


def test_a_number_gives_way_to_a_name() -> None:
    labels = [source.label for source in parse_sources("torch:a.py:n,torch:b.py:n,torch:c.py:n-2")]
    assert labels == ["n", "n-3", "n-2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" , ", "is empty"),
        ("glyphs,,timm:resnet18", "between two commas"),
        ("glyphs,", "between two commas"),
        ("glyphs=", "no weights after"),
        ("=random", "no network before"),
        ("glyphs=randm", "neither random nor a file"),
        ("timm:resnet18=pretrained", "neither random nor a file"),
        ("glyphs,glyphs", "stands twice"),
        ("glyphs=random,timm:x,glyphs = random", "stands twice"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        parse_sources(text)
    assert caught.value.hint
