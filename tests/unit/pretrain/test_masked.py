"""Masked words: the network of a folder goes on learning with its own head, and the result is taken up again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cases.hf_folders import MARKS, write_text_network, write_tokenizer
from frostline import pretrain_network
from frostline.base.errors import ModelError, RecipeError
from frostline.base.events import Event
from frostline.bundle.spec import resolve_network
from frostline.models.network import pretrained
from frostline.pipeline import fit
from frostline.pretrain.masked import MaskedWords

t = pytest.importorskip("transformers")
TEXTS = [
    f"the {colour} {animal} {verb} in a {place}"
    for colour in ("red", "blue", "green")
    for animal in ("cat", "dog")
    for verb in ("runs", "sits")
    for place in ("house", "tree")
]
LABELS = ["cat" if "cat" in text else "dog" for text in TEXTS]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two blocks with its head for masked words."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("bert")
    size = write_tokenizer(folder, (*MARKS, "[MASK]"))
    config = t.BertConfig(
        vocab_size=size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        t.BertForMaskedLM(config).save_pretrained(folder)
    return folder


def trained(out: Path, model: str, **options: Any) -> Any:
    return pretrain_network(TEXTS, model, out=out, threads=1, **{"epochs": 3, "lr": 1e-3, **options})


def test_it_starts_with_the_head_of_the_folder_and_shares_the_encoder(bert: Path) -> None:
    network = resolve_network(f"hf:{bert}")
    model = pretrained(network)
    task = MaskedWords.of(network, model, network.preprocess, seed=0)
    assert not task.drawn
    assert task.whole.bert is model.encoder
    assert task.whole.cls.predictions.decoder.weight is model.encoder.embeddings.word_embeddings.weight
    theirs = t.BertForMaskedLM.from_pretrained(bert).eval()
    ids = torch.tensor([[2, 6, 7, 8, 3]])
    mask = torch.ones_like(ids)
    ours = task.whole.eval()(input_ids=ids, attention_mask=mask).logits
    assert torch.allclose(ours, theirs(input_ids=ids, attention_mask=mask).logits, atol=1e-6)


def test_the_loss_falls_and_the_encoder_moves(bert: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "r", f"hf:{bert}", epochs=8)
    losses = [point.loss for point in run.record.curve if point.loss is not None]
    assert losses[-1] < losses[0] - 0.1
    assert run.record.method == "mlm"
    before = resolve_network(f"hf:{bert}")
    after = resolve_network(run.spec)
    assert before.weights is not None
    assert after.weights is not None
    name = "encoder.encoder.layer.1.output.dense.weight"
    assert not torch.equal(before.weights[name], after.weights[name])


def test_the_result_is_fitted_and_pretrained_again_with_a_word_about_the_new_head(bert: Path, tmp_path: Path) -> None:
    run = trained(tmp_path / "r", f"hf:{bert}", epochs=1)
    told: list[Event] = []
    again = trained(tmp_path / "again", run.spec, epochs=1, emit=told.append)
    assert any("no head that guesses words" in event.text for event in told)
    assert [entry["what"] for entry in again.record.history] == ["mlm", "mlm"]
    labelled = fit((TEXTS, LABELS), again.spec, strategies="probe", store="off", out=tmp_path / "f", threads=1)
    assert [entry["what"] for entry in labelled.result.model.history] == ["mlm", "mlm"]


def test_equal_runs_write_equal_bytes(bert: Path, tmp_path: Path) -> None:
    one, other = (trained(tmp_path / name, f"hf:{bert}", epochs=1).path for name in "ab")
    for name in ("model.safetensors", "recipe.json"):
        assert (one / "model" / name).read_bytes() == (other / "model" / name).read_bytes()


def test_a_tokenizer_without_a_mask_is_refused(tmp_path: Path) -> None:
    folder = write_text_network(tmp_path / "encoder")
    with pytest.raises(ModelError, match=r"no token that hides a word \(\[MASK\] or <mask>\)"):
        trained(tmp_path / "r", f"hf:{folder}")


def test_methods_for_images_and_random_weights_are_refused(bert: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--method simclr is for images"):
        trained(tmp_path / "r", f"hf:{bert}", method="simclr")
    with pytest.raises(RecipeError, match="--method mlm goes on from given weights"):
        trained(tmp_path / "r", f"hf:{bert}", weights="random")
