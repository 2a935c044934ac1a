"""What a support bundle says in sentences: no names, and still what happened."""

from __future__ import annotations

import pytest

from frostline.report.scrub import Names, Scrubber, own_words


def scrubber(*texts: str, classes: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> Scrubber:
    names = Names()
    names.add("class", classes)
    names.add("file", files)
    return Scrubber(names, "\n".join(texts))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "2 classes: 'zebras' (13 to learn from), 'óx' (4).",
            "2 classes: 'class-1' (13 to learn from), 'class-2' (4).",
        ),
        ("Class zebras has a single image.", "Class class-1 has a single image."),
        ("probe at 0.0003, block 1: accuracy 0.500", "probe at 0.0003, block 1: accuracy 0.500"),
        ("zebras_old isn't zebras", "word-1 isn't class-1"),
        ("Can't access /home/me/x: No space left on device.", "Can't access path-1: No space left on device."),
        ("C:\\Users\\me\\x can't be read", "path-1 can't be read"),
        ("scan 7.png is missing", "file-1 is missing"),
        ("other.png is missing", "path-1 is missing"),
        ("torch 2.15.0+cu128 at 2026-11-28T08:09:48.678Z", "torch 2.15.0+cu128 at 2026-11-28T08:09:48.678Z"),
        ("frostline/train/loop.py:12 in train", "frostline/train/loop.py:12 in train"),
        ("frostline/geheim.py:12 in train", "word-1"),
        ("result.json, docs/errors.md#dataerror and val/", "result.json, docs/errors.md#dataerror and val/"),
        ("it's Müller's 'IMG 1' \u2603", "it's word-1's 'name-1' word-2"),
        ("layer3.yeblock of Xyzzynet", "layer3.word-1 of word-2"),
    ],
)
def test_sentences_keep_our_words_and_lose_names(text: str, told: str) -> None:
    scrub = scrubber(text, classes=("zebras", "óx"), files=("scan 7.png",))
    assert scrub.text(text) == told


def test_a_name_has_one_placeholder_throughout() -> None:
    scrub = scrubber("'zebras' and 'yaks'", classes=("yaks", "zebras"))
    told = scrub.value({"zebras": {"n": 3}, "text": "'zebras' beside Unknownish", "more": ["Unknownish", "yaks"]})
    assert told == {"class-2": {"n": 3}, "text": "'class-2' beside word-1", "more": ["word-1", "class-1"]}


def test_a_class_that_is_called_like_a_word_of_ours_goes_from_sentences_not_from_fields() -> None:
    scrub = scrubber("probe: accuracy 0.5", classes=("probe", "7"))
    told = scrub.value({"kind": "trial", "strategy": "probe", "text": "probe, block 7", "label": "7"})
    assert told == {"kind": "trial", "strategy": "probe", "text": "class-1, block 7", "label": "class-2"}


def test_a_folder_that_is_called_like_a_field_hides_no_field() -> None:
    assert scrubber("work", files=("work",)).value({"work": "work"}) == {"work": "file-1"}


def test_long_lists_are_told_by_their_length() -> None:
    assert scrubber().value({"curve": [0.5] * 3, "x": [0.5] * 201}) == {"curve": [0.5] * 3, "x": {"length": 201}}


def test_many_names_take_no_long_search() -> None:
    files = tuple(f"directory/of samples/{i:06}.png" for i in range(50_000))
    text = "Only directory/of samples/000017.png can't be read."
    assert scrubber(text, files=files).text(text) == "Only file-1 can't be read."


def test_our_own_words_are_those_of_the_source() -> None:
    assert {"accuracy", "resume", "probe"} <= own_words()
    assert not {"Mümmelmann", "xyzzynet"} & own_words()
