"""Texts: tokens as transformers' own tokenizer gives them, lengths, copies, tables and texts in memory."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from frostline.base.errors import DataError, RecipeError
from frostline.base.events import silent
from frostline.cutting.inputs import call_of
from frostline.data.contract import input_lengths, policy_for, to_inputs
from frostline.data.given import list_given
from frostline.data.preprocess import Preprocess
from frostline.data.read import read_data
from frostline.data.tables import find, read_lines
from frostline.data.texts import (
    PADDING,
    TextPreprocess,
    bucket_lengths,
    encode,
    find_equal_texts,
    fitting_length,
    folded,
    ids_and_mask,
    ladder,
    mostly_unknown,
    read_texts,
)
from frostline.recipe.settings import Settings

transformers = pytest.importorskip("transformers", reason="the extra `text` isn't installed")

from cases.hf_folders import POSITIONS, write_tokenizer  # noqa: E402

SENTENCES = ["The cat sits", "who IS a dog ?", "where  was the unknownword in a tree", "a"]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> TextPreprocess:
    folder = tmp_path_factory.mktemp("tokenizer")
    size = write_tokenizer(folder)
    tokenizer = (folder / "tokenizer.json").read_text()
    return TextPreprocess(tokenizer=tokenizer, length=8, limit=POSITIONS, pad=0, vocabulary=size)


def settings(**changed: Any) -> Settings:
    return Settings(data=Path("x"), model="hf:x", **changed)


def test_tokens_are_those_of_the_librarys_own_tokenizer(contract: TextPreprocess, tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)(SENTENCES)["input_ids"]
    assert encode(SENTENCES, contract) == theirs


def test_a_text_keeps_its_tokens_and_the_last_place_stays_empty(contract: TextPreprocess) -> None:
    texts, cut = read_texts(SENTENCES, contract)
    assert texts.ids.shape == (4, 8)
    assert cut == [2]
    assert (texts.ids[:, -1] == PADDING).all()
    assert texts.ids[2, 6] == 3  # its closing mark survives the cut
    whole = encode(SENTENCES, contract)
    assert texts.ids[0, : len(whole[0])].tolist() == whole[0]


def test_cut_from_the_left_keeps_the_end(contract: TextPreprocess) -> None:
    whole = encode(SENTENCES[2:3], contract)[0]
    texts, _ = read_texts(SENTENCES[2:3], replace(contract, cut="left"))
    assert texts.ids[0, 1:7].tolist() == whole[-6:]


def test_mask_tells_words_from_padding_even_where_a_word_has_the_paddings_id() -> None:
    views = torch.tensor([[2, 0, 3, PADDING], [2, 3, PADDING, PADDING]], dtype=torch.int32)
    found = ids_and_mask(views, 0, "cpu")
    assert found["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert found["input_ids"].tolist() == [[2, 0, 3, 0], [2, 3, 0, 0]]


@pytest.mark.parametrize(("counts", "length"), [([3], 8), ([7], 8), ([8], 16), ([500], 24), ([], 8)])
def test_length_has_room_for_the_longest_and_one_more(counts: list[int], length: int) -> None:
    assert fitting_length(counts, 24) == length


@pytest.mark.parametrize(
    ("length", "steps"),
    [(8, (8,)), (16, (16,)), (24, (16, 24)), (40, (16, 24, 32, 40)), (128, (16, 24, 32, 48, 64, 96, 128))],
)
def test_ladder_rises_to_the_longest_length(length: int, steps: tuple[int, ...]) -> None:
    assert ladder(length) == steps


def test_buckets_of_long_texts_leave_less_than_half_empty() -> None:
    steps = ladder(4096)
    assert all(step % 8 == 0 for step in steps)
    assert all(after <= 1.5 * before for before, after in itertools.pairwise(steps))


def test_bucket_holds_a_texts_tokens_and_one_empty_place() -> None:
    ids = np.full((5, 40), PADDING, dtype=np.int32)
    for row, tokens in enumerate((1, 15, 16, 31, 39)):
        ids[row, :tokens] = 7
    assert bucket_lengths(ids, ladder(40)).tolist() == [16, 16, 24, 32, 40]
    assert bucket_lengths(ids[::-1], ladder(40)).tolist() == [40, 32, 24, 16, 16]  # whoever comes with it


def test_inputs_are_cut_to_the_bucket_and_keep_an_empty_place(contract: TextPreprocess) -> None:
    wide = replace(contract, length=24, lengths=(8, 16, 24))
    texts, _ = read_texts(["the cat", "a dog sings in the tree of the house"], wide)
    lengths = input_lengths(texts, wide)
    assert lengths is not None
    assert lengths.tolist() == [8, 16]
    assert input_lengths(texts, replace(wide, lengths=())) is None
    view = torch.from_numpy(texts.ids[:1])
    mask, short = call_of(to_inputs(view, wide, device="cpu", channels_last=False)).tensors
    assert short.shape == (1, 8)
    assert mask.tolist() == [[1] * 4 + [0] * 4]
    one_length = replace(wide, lengths=())
    _, whole = call_of(to_inputs(view, one_length, device="cpu", channels_last=False)).tensors
    assert whole.shape == (1, 24)
    assert torch.equal(whole[:, :8], short)


def test_case_white_space_and_unicode_form_make_no_other_text() -> None:
    words = ["Caf\u00e9 open", "cafe\u0301  OPEN ", "cafe open", "\uff23af\u00e9\topen"]
    assert folded(words[0]) == folded(words[3])
    assert find_equal_texts(words).all == ((0, 1, 3),)


def test_record_reads_back_and_refuses_another_tokenizer(contract: TextPreprocess) -> None:
    record = json.loads(json.dumps(contract.to_json()))
    assert TextPreprocess.from_json(record, contract.tokenizer) == contract
    with pytest.raises(DataError, match="isn't the one that was saved"):
        TextPreprocess.from_json(record, contract.tokenizer + " ")
    with pytest.raises(DataError, match="other keys"):
        TextPreprocess.from_json({**record, "new": 1}, contract.tokenizer)
    lacking = {name: value for name, value in record.items() if name != "pad"}
    with pytest.raises(DataError, match="other keys"):
        TextPreprocess.from_json(lacking, contract.tokenizer)


def test_record_keeps_the_buckets_and_one_from_before_them_reads_every_text_at_the_longest_length(
    contract: TextPreprocess,
) -> None:
    with_buckets = replace(contract, length=24, lengths=(8, 16, 24))
    record = json.loads(json.dumps(with_buckets.to_json()))
    assert TextPreprocess.from_json(record, contract.tokenizer) == with_buckets
    older = {name: value for name, value in record.items() if name != "lengths"}
    assert TextPreprocess.from_json(older, contract.tokenizer) == replace(with_buckets, lengths=())
    for lengths in ([8, 16], [16, 8, 24], [8, 8, 24], [8, 40, 24]):
        with pytest.raises(DataError, match="don't rise to 24"):
            TextPreprocess.from_json({**record, "lengths": lengths}, contract.tokenizer)
    for wrong in (16, ["16", 24], None):
        with pytest.raises(DataError, match="another type"):
            TextPreprocess.from_json({**record, "lengths": wrong}, contract.tokenizer)


def test_copies_of_sealed_texts_are_left_out_and_blank_ones_named(contract: TextPreprocess, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    rows = [
        "the cat,x,train",
        "a dog,y,train",
        "a bird,x,train",
        "red tree,y,train",
        "THE  cat,x,test",
        "blue dog,y,test",
        " ,x,train",
    ]
    file.write_text("text,label,split\n" + "\n".join(rows) + "\nblue house,y,train\nthe house,x,train\n")
    read = read_data(settings(), find(file), contract, silent)
    kinds = {w.kind: w for w in read.dataset.warnings}
    assert kinds["unreadable"].examples == ("7: an empty text",)
    assert kinds["copies-of-sealed"].examples == ("1",)
    assert len(read.samples) == len(read.dataset.samples) == 7
    assert isinstance(read.contract, TextPreprocess)


def test_length_is_found_on_what_is_learnt_from_and_cut_texts_are_counted(
    contract: TextPreprocess, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    long = "the cat sits in " * 5
    rows = ["the cat,x,train", "a dog,y,train", "a bird,x,train", "red tree,y,train", f"{long},x,test", "dog,y,test"]
    file.write_text("text,label,split\n" + "\n".join(rows) + "\n")
    read = read_data(settings(), find(file), replace(contract, length=16), silent)
    assert isinstance(read.contract, TextPreprocess)
    assert read.contract.length == 8
    (warning,) = (w for w in read.dataset.warnings if w.kind == "truncated")
    assert (warning.count, warning.examples) == (1, ("5",))
    chosen = read_data(settings(size=16), find(file), replace(contract, length=16), silent)
    assert isinstance(chosen.contract, TextPreprocess)
    assert chosen.contract.length == 16


def test_strings_in_memory_are_texts_to_a_text_network(contract: TextPreprocess) -> None:
    words = [f"{a} {b}" for a in ("the", "a", "red") for b in ("cat", "dog", "tree", "house")]
    labels = ["x", "y"] * 6
    for data in ((words, labels), (np.array(words), np.array(labels)), {"text": words, "label": labels}):
        read = read_data(settings(), list_given(data), contract, silent)
        assert sorted(read.samples.words) == sorted(words)


def test_a_table_needs_either_column_and_the_network_has_to_read_it(contract: TextPreprocess, tmp_path: Path) -> None:
    both, none = tmp_path / "b.csv", tmp_path / "n.csv"
    both.write_text("text,image,label\na,b,c\n")
    none.write_text("words,label\na,c\n")
    with pytest.raises(DataError, match="both a column 'image' and a column 'text'"):
        find(both)
    with pytest.raises(DataError, match="neither a column 'image' nor a column 'text'"):
        find(none)
    texts = tmp_path / "t.csv"
    texts.write_text("text,label\na,x\nb,y\n")
    images = Preprocess.default(8, (0.5,), (0.5,), 3)
    with pytest.raises(DataError, match="holds texts, but the network reads images"):
        read_data(settings(), find(texts), images, silent)
    arrays = list_given((np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]))
    with pytest.raises(DataError, match="holds images, but the network reads texts"):
        read_data(settings(), arrays, contract, silent)


def test_text_files_for_predict_are_tables_or_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree\n")
    (tmp_path / "a.jsonl").write_text('{"text": "one, two"}\n{"text": null}\n')
    assert read_lines(tmp_path / "a.txt") == ("one two", "three")
    assert read_lines(tmp_path / "a.jsonl") == ("one, two", "")
    with pytest.raises(DataError, match="not a file of texts"):
        read_lines(Path(__file__))


def test_augmentation_of_texts_is_refused(contract: TextPreprocess) -> None:
    assert policy_for(None, contract).still
    with pytest.raises(RecipeError, match="texts aren't varied"):
        policy_for("light", contract)


def test_texts_in_another_language_are_told(contract: TextPreprocess, tmp_path: Path) -> None:
    assert mostly_unknown(encode(["\u732b \u72ac", "cat \u732b", "cat sits", ""], contract), contract) == [0, 1]
    rows = [("the cat sits here", "a"), ("who is a dog", "b"), ("\u732b \u72ac \u9ce5", "a"), ("\u5c71", "b")] * 2
    lines = [f"{text} {'cat ' * k},{label}" if k < 4 else f"{text},{label}" for k, (text, label) in enumerate(rows)]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(lines), encoding="utf-8")
    settings = Settings(data=tmp_path / "t.csv", model="hf:x")
    found = read_data(settings, find(tmp_path / "t.csv"), contract, silent)
    kinds = {warning.kind: warning.count for warning in found.dataset.warnings}
    assert kinds["unknown-words"] >= 2
