"""Which networks read each text at the length of its bucket, and which have to read all at one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("transformers", reason="the extra `text` isn't installed")

from cases.hf_folders import write_architecture, write_text_network, write_tokenizer
from frostline.cutting.stages import stage_map
from frostline.data.texts import TextPreprocess, ladder
from frostline.models.lengths import usable_lengths
from frostline.models.network import example_call, pretrained
from frostline.models.sources import load_network

LENGTH = 40


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> TextPreprocess:
    folder = tmp_path_factory.mktemp("tokenizer")
    size = write_tokenizer(folder)
    tokenizer = (folder / "tokenizer.json").read_text()
    return TextPreprocess(tokenizer=tokenizer, length=LENGTH, limit=LENGTH, pad=0, vocabulary=size)


class Reads(nn.Module):
    """Embeds words, changes them one by one, and scores their mean: padding isn't seen."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(64, 8)
        self.block = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 3)

    def words(self, input_ids: Tensor) -> Tensor:
        embedded: Tensor = self.embed(input_ids)
        return embedded

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        words = self.block(self.words(input_ids)).relu() * attention_mask[..., None]
        scores: Tensor = self.fc(words.sum(1) / attention_mask.sum(1, keepdim=True))
        return scores


class FixedPositions(Reads):
    """Has a position for each of 40 places, and doesn't look at how many there are."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(LENGTH, 8))

    def words(self, input_ids: Tensor) -> Tensor:
        return super().words(input_ids) + self.positions


class SeesPadding(Reads):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return super().forward(input_ids, torch.ones_like(attention_mask))


class Remembers(Reads):
    """Computes in another way once it has read something short, as BigBird does."""

    def __init__(self) -> None:
        super().__init__()
        self.short = False

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        self.short = self.short or input_ids.shape[1] < LENGTH
        scores = super().forward(input_ids, attention_mask)
        return scores * (1 + 1e-6) if self.short else scores


class OnlyTrainsAtFull(Reads):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        if self.training and input_ids.shape[1] != LENGTH:
            raise ValueError("training wants 40 tokens")
        return super().forward(input_ids, attention_mask)


class Convolves(Reads):
    """Word by word, so that padding isn't seen: but a convolution's gradient isn't repeatable with one text."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = nn.Conv1d(8, 8, 1)

    def words(self, input_ids: Tensor) -> Tensor:
        turned: Tensor = self.turn(super().words(input_ids).transpose(1, 2)).transpose(1, 2)
        return turned


def lengths_of(model: nn.Module, contract: TextPreprocess) -> tuple[int, ...]:
    model.eval()
    mapped = stage_map(model, call=example_call(contract), verify="all")
    return usable_lengths(model, mapped, contract)


def test_network_that_does_not_see_padding_reads_every_length(contract: TextPreprocess) -> None:
    assert lengths_of(Reads(), contract) == ladder(LENGTH) == (16, 24, 32, 40)


@pytest.mark.parametrize("kind", [FixedPositions, SeesPadding, Remembers, OnlyTrainsAtFull, Convolves])
def test_other_networks_read_every_text_at_one_length(contract: TextPreprocess, kind: Any) -> None:
    model = kind()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert lengths_of(model, contract) == ()
    assert not getattr(model, "short", False)  # a copy was tried
    assert not model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_short_texts_alone_need_no_buckets(contract: TextPreprocess) -> None:
    assert lengths_of(Reads(), replace(contract, length=16)) == ()


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5", "convbert"])
def test_networks_of_transformers(tmp_path: Path, name: str) -> None:
    folder = write_text_network(tmp_path / "n") if name == "bert" else write_architecture(tmp_path, name)
    network = load_network(f"hf:{folder}")
    contract = network.preprocess
    assert isinstance(contract, TextPreprocess)
    contract = replace(contract, length=24)
    model = pretrained(network)
    mapped = stage_map(model, call=example_call(contract), verify="all")
    wanted = () if name == "convbert" else (16, 24)
    assert usable_lengths(model, mapped, contract) == wanted
