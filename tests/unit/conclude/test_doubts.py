"""Doubts about the data: planted faults are found, what cleanlab says is what is told, and nothing is changed."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import replace

import numpy as np
import pytest

from frostline.base.records import Dataset, Outcome, Sample
from frostline.conclude import doubts as d
from frostline.planning.plan_race import want_features
from frostline.stats.intervals import wilson
from helpers import train_studies as ts


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Labels of 400 scans with eight of them planted wrong, out-of-fold probabilities, the pixels, the wrong rows."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    scans = load_digits()
    pixels, labels = scans.data[:400] / 16, scans.target[:400].astype(np.int64)
    rng = np.random.default_rng(1)
    wrong = rng.choice(400, 8, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 8)) % 10
    model = LogisticRegression(max_iter=300)
    return labels, cross_val_predict(model, pixels, labels, cv=5, method="predict_proba"), pixels, wrong


def made_dataset(labels: list[int], sealed: int = 0, groups: list[str] | None = None) -> Dataset:
    """`labels` of development rows, then `sealed` rows of class 0."""
    every = [*labels, *([0] * sealed)]
    samples = tuple(
        Sample(
            id=f"{i}.png",
            path=None,
            label=label,
            part="development" if i < len(labels) else "sealed",
            group=groups[i] if groups and i < len(groups) else str(i),
            sha256=f"{i:064x}",
        )
        for i, label in enumerate(every)
    )
    classes = tuple(f"c{k}" for k in range(max(every) + 1))
    return Dataset(path="x", kind="class-folders", classes=classes, samples=samples, sealed_from="test/")


def outcome(labels: np.ndarray, probabilities: np.ndarray) -> Outcome:
    return Outcome(
        key="k",
        strategy="probe",
        purpose="block",
        block=0,
        rate=None,
        rows=tuple(range(len(labels))),
        probabilities=tuple(map(tuple, probabilities.tolist())),
        accuracy=0.0,
        log_loss=0.0,
        steps=0,
        epochs=0,
        undertrained=False,
        l2=None,
        seconds=0.0,
        operations=0.0,
    )


def test_most_planted_labels_are_found_and_little_else(digits: tuple[np.ndarray, ...]) -> None:
    labels, probabilities, _, wrong = digits
    found = d.wrong_labels(labels, probabilities)
    assert len(set(found) & set(wrong)) >= 6
    assert len(set(found) - set(wrong)) <= 2


def test_the_labels_are_those_that_cleanlab_doubts(digits: tuple[np.ndarray, ...]) -> None:
    from cleanlab.filter import find_label_issues

    labels, probabilities, _, _ = digits
    direct = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence")
    assert d.wrong_labels(labels, probabilities).tolist() == direct.tolist() != []
    present = labels != 9  # with few blocks a class may have no row: its probability is shared out
    nine = probabilities[present][:, :9]
    direct = find_label_issues(
        labels[present], nine / nine.sum(axis=1, keepdims=True), return_indices_ranked_by="self_confidence"
    )
    assert d.wrong_labels(labels[present], probabilities[present]).tolist() == direct.tolist()


def test_cleanlab_neither_prints_nor_warns(
    digits: tuple[np.ndarray, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*words: object) -> None:
        raise AssertionError(f"a connection was asked for: {words}")

    monkeypatch.setattr("socket.socket.connect", no_network)
    labels, probabilities, _, _ = digits
    few = np.concatenate([np.flatnonzero(labels == k)[:2] for k in range(10)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        d.wrong_labels(labels[few], probabilities[few])
        d.wrong_labels(labels, probabilities)
    assert capsys.readouterr() == ("", "")


def test_labels_of_one_class_are_not_judged() -> None:
    assert d.wrong_labels(np.zeros(5, dtype=np.int64), np.full((5, 2), 0.5)).tolist() == []


def test_a_doubted_label_names_what_the_image_looks_like(digits: tuple[np.ndarray, ...]) -> None:
    labels, probabilities, _, _ = digits
    study = replace(ts.study(14), dataset=made_dataset(labels.tolist()), development=np.arange(0))
    doubts = [x for x in d.find_doubts(study, [outcome(labels, probabilities)], "probe").found if x.kind == "label"]
    rows = d.wrong_labels(labels, probabilities)
    assert [x.id for x in doubts] == [f"{row}.png" for row in rows]
    best = probabilities[rows[0]].argmax()
    assert (doubts[0].label, doubts[0].suggestion) == (f"c{labels[rows[0]]}", f"c{best}")
    assert doubts[0].score == probabilities[rows[0], best]
    assert f"looks like c{best}" in doubts[0].detail


@pytest.mark.parametrize("why", ["not installed", "no predictions"])
def test_labels_that_cannot_be_judged_are_said_and_nothing_fails(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    if why == "not installed":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "cleanlab" else find_spec(name))
    made = ts.study(14)
    found = d.find_doubts(made, [], "probe")
    assert not [x for x in found.found if x.kind == "label"]
    assert ("pip install 'frostline[quality]'" if why == "not installed" else "ran alone") in found.method


def test_a_image_unlike_all_others_is_the_first_outlier_of_few(digits: tuple[np.ndarray, ...]) -> None:
    _, _, pixels, _ = digits
    dataset = made_dataset([0] * 401)
    planted = np.vstack([pixels, np.random.default_rng(0).uniform(0, 1, pixels.shape[1])])  # noise is no digit
    distances, _ = d.neighbours(planted)
    found = d.outliers(dataset, np.arange(401), distances)
    assert found[0].id == "400.png"
    assert len(found) <= 12
    distances, _ = d.neighbours(pixels)
    rest = d.outliers(dataset, np.arange(400), distances)
    assert {x.id for x in rest} <= {x.id for x in found}
    assert d.outliers(dataset, np.arange(400), np.ones((400, 3))) == []


def test_neighbours_are_those_of_every_distance_worked_out() -> None:
    from scipy.spatial.distance import cdist

    features = np.random.default_rng(0).normal(size=(30, 5))
    every = cdist(features, features, "cosine")
    np.fill_diagonal(every, np.inf)
    distances, rows = d.neighbours(features)
    assert rows.tolist() == np.argsort(every, axis=1)[:, :10].tolist()
    assert distances == pytest.approx(np.sort(every, axis=1)[:, :10])


def test_nearly_equal_rows_of_two_classes_are_told_once_and_of_one_class_not() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 8))
    features[7], features[21] = features[3] * 1.001, features[20] + 1e-3  # 3 and 7 differ in class, 20 and 21 don't
    dataset = made_dataset([0 if i in (3, 20, 21) else 1 for i in range(40)])
    distances, rows = d.neighbours(features)
    found = d.close_to_other_class(dataset, np.arange(40), distances, rows, {})
    assert [(x.id, x.label, x.suggestion) for x in found] == [("3.png", "c0", "c1")]
    assert d.close_to_other_class(dataset, np.arange(40), distances, rows, {3: 0, 7: 0}) == []  # told as copies


def test_classes_with_few_samples_are_named_with_how_many_are_needed() -> None:
    needed = d.sealed_needed()
    low, high = wilson(needed / 2, needed)
    assert (high - low) / 2 <= 0.15 < (lambda ci: (ci[1] - ci[0]) / 2)(wilson((needed - 1) / 2, needed - 1))
    found = d.small_classes(made_dataset([0] * 10 + [1] * 9, sealed=needed))
    assert [x.id for x in found] == ["c1"]
    assert "9 samples to learn from, and at least 10 are needed" in found[0].detail
    assert "isn't tested" in found[0].detail
    found = d.small_classes(made_dataset([0] * 10, sealed=needed - 1))
    assert f"{needed} would" in found[0].detail


@pytest.mark.parametrize("grouped", [False, True])
def test_copies_within_a_class_and_between_two_are_told_apart(grouped: bool) -> None:
    """Where the user gave groups, images of one group aren't copies for that; the images themselves decide."""
    made = ts.study(14)
    shown = ts.images(made.dataset)
    order = [0, 1, 0, 0, *range(4, 14)]  # rows 2 (of the class of row 0) and 3 (of the other) show what row 0 shows
    groups = ["group:all"] * 16 if grouped else ["0", "1", "0", "0", *map(str, range(4, 16))]
    samples = tuple(replace(s, group=group) for s, group in zip(made.dataset.samples, groups, strict=True))
    source = replace(made.features.source, images=shown.select(np.array(order)))
    made.features.source = source
    found = d.find_doubts(replace(made, dataset=replace(made.dataset, samples=samples)), [], "probe").found
    copies = [(x.kind, x.id, x.suggestion) for x in found if "copy" in x.kind]
    assert copies == [("conflicting-copy", "c1/3.png", "c0"), ("copy", "c0/2.png", None)]


def test_doubts_of_a_study_are_the_same_each_time_and_leave_it_as_it_was() -> None:
    made = ts.study(30)
    want_features(made, [ts.recipe(made, "probe")])
    before = made.dataset
    found = d.find_doubts(made, [], "probe")
    assert found == d.find_doubts(made, [], "probe")
    assert made.dataset == before
    assert "on the features after d" in found.method
    assert [x.kind for x in found.found] == sorted((x.kind for x in found.found), key=d.KINDS.index)


def test_too_few_or_unstored_features_are_said() -> None:
    made = ts.study(14)
    assert "no strategy that ran reads stored features" in d.find_doubts(made, [], "finetune").method
    want_features(made, [ts.recipe(made, "probe")])
    assert "there are 14" in d.find_doubts(made, [], "probe").method
