"""The network that the package brings along: its file, its card, its stages, and the letters that it was made of."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from frostline.base.errors import ModelError
from frostline.cutting.stages import stages
from frostline.data.preprocess import Preprocess, to_input
from frostline.models.network import NetworkOptions, example_input, pretrained
from frostline.models.sources import load_network
from frostline.models.sources.glyphs_source import CARD, CLASSES, WEIGHTS

MOST_BYTES = 1_500_000


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """tools/make_glyphs.py, which is a script and no part of the package."""
    pytest.importorskip("matplotlib", reason="its fonts are what is rendered")
    path = Path(__file__).parents[3] / "tools" / "make_glyphs.py"
    spec = importlib.util.spec_from_file_location("make_glyphs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_glyphs"] = module
    spec.loader.exec_module(module)
    return module


def test_the_card_speaks_of_the_file_that_is_shipped() -> None:
    data = WEIGHTS.read_bytes()
    assert len(data) <= MOST_BYTES
    card = CARD.read_text(encoding="utf-8")
    assert hashlib.sha256(data).hexdigest() in card
    assert f"{len(data):,} bytes" in card


def test_it_has_five_stages_that_can_be_cut_and_names_its_classes() -> None:
    network = load_network("glyphs")
    assert isinstance(network.preprocess, Preprocess)
    found = stages(pretrained(network), example_input(network.preprocess))
    assert [s.name for s in found] == ["stem", "s1", "s2", "s3", "s4"]
    assert all(s.cuttable for s in found)
    assert network.classes == CLASSES
    assert len(set(CLASSES)) == 62
    assert network.load_report is not None
    assert not network.load_report.head_differs


def test_it_reads_letters_that_it_never_saw(maker: ModuleType) -> None:
    network = load_network("glyphs")
    numbers = range(10_000_000, 10_000_000 + 124)
    drawn = [maker.glyph(1, number) for number in numbers]
    images = np.stack([np.kron(p, np.ones((32 // len(p),) * 2, dtype=np.uint8)) for _, p in drawn])
    assert isinstance(network.preprocess, Preprocess)
    inputs = to_input(torch.from_numpy(images)[:, None], network.preprocess, device="cpu", channels_last=False)
    with torch.no_grad():
        guessed = pretrained(network)(inputs).argmax(1)
    right = np.mean([CLASSES[int(i)].lower() == letter.lower() for i, (letter, _) in zip(guessed, drawn, strict=True)])
    assert right > 0.6  # 0.03 by guessing; blocky enlargements and look-alikes cost some


def test_random_weights_and_other_heads_name_no_classes() -> None:
    network = load_network("glyphs", NetworkOptions(weights="random"))
    assert network.weights is None
    assert network.classes is None
    one, other = (network.build(seed).get_parameter("head.weight") for seed in (0, 1))
    assert not torch.equal(one, other)
    smaller = load_network("glyphs", NetworkOptions(model_args={"classes": 3}))
    assert smaller.classes is None
    assert smaller.load_report is not None
    assert smaller.load_report.head_differs


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (NetworkOptions(size=64), "32 x 32"),
        (NetworkOptions(model_args={"depth": 3}), "'depth'"),
        (NetworkOptions(model_args={"classes": "ten"}), "whole numbers"),
        (NetworkOptions(weights="no-such-file"), "no-such-file"),
    ],
)
def test_what_does_not_fit_is_refused(options: NetworkOptions, word: str) -> None:
    with pytest.raises(ModelError, match=word):
        load_network("glyphs", options)


def test_a_spec_without_a_colon_suggests_it() -> None:
    with pytest.raises(ModelError) as caught:
        load_network("glyph")
    assert "Did you mean 'glyphs'?" in caught.value.hint


def test_a_letter_is_a_function_of_seed_and_number(maker: ModuleType) -> None:
    first = [maker.glyph(0, number) for number in range(6)]
    again = [maker.glyph(0, number) for number in reversed(range(6))][::-1]
    for (letter, image), (other, same) in zip(first, again, strict=True):
        assert letter == other
        assert np.array_equal(image, same)
        assert image.dtype == np.uint8
        assert image.shape in ((8, 8), (32, 32))
        assert image.max() > 100
    assert [letter for letter, _ in first] == list(CLASSES[:6])
    assert not all(np.array_equal(maker.glyph(1, n)[1], image) for n, (_, image) in enumerate(first))


def test_a_image_of_cells_counts_ink_in_sixteenths(maker: ModuleType) -> None:
    cells = [image for _, image in (maker.glyph(0, n) for n in range(20)) if image.shape == (8, 8)]
    assert cells
    for image in cells:
        assert np.allclose(image * (16 / 255), np.rint(image * (16 / 255)), atol=0.04)


def test_distance_is_positive_in_the_ink_alone(maker: ModuleType) -> None:
    face = next(f for f in maker.faces() if f.name == "DejaVuSans")
    distance = maker.field(face, "I")
    middle = len(distance) // 2
    assert distance[middle, middle] > 0
    assert distance[middle, 2] < 0
    assert distance[2, 2] < distance[middle, 2]
