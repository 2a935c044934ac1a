"""TransferClassifier keeps the protocol of scikit-learn, checked by its own checks and by its own tools."""

from __future__ import annotations

import gc
import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import frostline
from frostline import TransferClassifier
from frostline.base.errors import DataError
from frostline.recipe.settings import Settings
from helpers.estimator_data import RowsAsImages, images

ONE_CLASS = "a comparison needs two classes: one is refused by a DataError with the hint to add another"
EXPECTED_TO_FAIL = {"check_classifiers_one_label": ONE_CLASS, "check_fit2d_1sample": ONE_CLASS}
EXPECTED_TO_BE_SKIPPED = {"check_array_api_input"}  # asks for an environment variable of scipy


@pytest.mark.slow
def test_every_check_of_scikit_learn_passes_on_rows_drawn_as_images(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks that are skipped
        results = check_estimator(RowsAsImages(**options), expected_failed_checks=EXPECTED_TO_FAIL, on_fail=None)
    status = {r["check_name"]: (r["status"], r["exception"]) for r in results}
    assert {name for name, (state, _) in status.items() if state == "failed"} == set(), status
    assert {name for name, (state, _) in status.items() if state == "xfail"} == set(EXPECTED_TO_FAIL)
    assert {name for name, (state, _) in status.items() if state == "skipped"} <= EXPECTED_TO_BE_SKIPPED
    assert sum(state == "passed" for state, _ in status.values()) > 35


def test_the_checks_that_need_no_rows_pass_on_the_classifier_itself(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn has no images to feed
        results = check_estimator(TransferClassifier(**options), on_fail=None)
    assert {r["status"] for r in results} == {"passed"}, results


def test_it_predicts_what_fit_and_load_predict(options: dict[str, Any], tmp_path: Any) -> None:
    X, y = images(40)
    given = {k: v for k, v in options.items() if k != "model"}
    run = frostline.fit((X, y), options["model"], out=tmp_path / "run", **given)
    bundle = frostline.load(run.path, trust_code=True, device="cpu")
    fitted = TransferClassifier(**options).fit(X, y)
    assert np.array_equal(fitted.predict_proba(X), bundle.predict_proba(X))
    assert fitted.result_.test == run.result.test
    assert fitted.result_.data.n_test == 8
    assert fitted.score(X, y) == np.mean([int(name) for name in bundle.predict(X)] == y)


@pytest.mark.parametrize(
    "names",
    [np.array([12, 3, 7]), np.array(["b", "a", "c"]), np.array(["b", "a", "c"], dtype=object), np.array([2, 1, 10])],
    ids=["int", "text", "object", "10 sorts before 2 as text"],
)
def test_classes_keep_their_type_and_the_columns_their_order(options: dict[str, Any], names: np.ndarray) -> None:
    X, y = images(36, classes=3)
    fitted = TransferClassifier(**options).fit(X, names[y])
    assert fitted.classes_.dtype == names.dtype
    assert fitted.classes_.tolist() == sorted(names.tolist())
    probabilities = fitted.predict_proba(X)
    assert probabilities.shape == (36, 3)
    assert np.array_equal(fitted.predict(X), fitted.classes_[probabilities.argmax(axis=1)])
    assert fitted.score(X, names[y]) > 0.9
    assert fitted.n_features_in_ == 18 * 20 * 3


def test_the_parameters_are_the_fields_of_settings(options: dict[str, Any]) -> None:
    parameters = TransferClassifier("timm:x").get_params()
    left_out = {"data", "resume", "conclude", "pool_validation"}
    assert set(parameters) == set(Settings.__dataclass_fields__) - left_out
    assert parameters["strategies"] == "auto"
    assert parameters["margin"] == Settings(data=Path("x"), model="y").margin
    changed = clone(TransferClassifier(**options)).set_params(seed=3, lr=0.1)
    assert (changed.seed, changed.lr, changed.weights) == (3, 0.1, options["weights"])
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        changed.set_params(rate=1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'rate'"):
        TransferClassifier("timm:x", rate=1)


def test_it_works_in_pipelines_cross_validation_and_searches(options: dict[str, Any]) -> None:
    X, y = images(48)
    half = FunctionTransformer(lambda images: images[:, ::2, ::2])
    scores = cross_val_score(make_pipeline(half, TransferClassifier(**options)), X, y, cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.8
    search = GridSearchCV(TransferClassifier(**options), {"strategies": ["probe", "probe@1"]}, cv=2)
    search.fit(X, y)
    assert set(search.cv_results_["param_strategies"]) == {"probe", "probe@1"}
    assert search.best_score_ > 0.8


def test_fit_prints_nothing(options: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    TransferClassifier(**options).fit(*images(24))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("tool", [pickle, joblib], ids=["pickle", "joblib"])
def test_a_fitted_one_survives_pickling_and_leaves_no_folder_behind(options: dict[str, Any], tool: Any) -> None:
    X, y = images(24)
    fitted = TransferClassifier(**options).fit(X, y)
    expected, first = fitted.predict_proba(X), fitted.run_
    file = io.BytesIO()
    tool.dump(fitted, file)
    file.seek(0)
    assert first.is_dir()
    del fitted
    gc.collect()
    assert not first.parent.exists()
    again = tool.load(file)
    assert again.run_.is_dir()
    assert np.array_equal(again.predict_proba(X), expected)
    twice = pickle.loads(pickle.dumps(again))  # scikit-learn's protocol asks for it; bytes of this very line
    assert np.array_equal(twice.predict_proba(X), expected)
    assert twice.result_ == again.result_
    folders = again.run_, twice.run_
    del again, twice
    gc.collect()
    assert not any(folder.exists() for folder in folders)


def test_an_unfitted_one_can_be_pickled_and_says_that_it_is_not_fitted(options: dict[str, Any]) -> None:
    again = pickle.loads(pickle.dumps(TransferClassifier(**options)))  # bytes of this very line
    assert again.get_params() == TransferClassifier(**options).get_params()
    with pytest.raises(NotFittedError):
        again.predict(images(2)[0])


def test_a_given_folder_stays(options: dict[str, Any], tmp_path: Any) -> None:
    fitted = TransferClassifier(**options, out=tmp_path / "run").fit(*images(24))
    assert fitted.run_ == tmp_path / "run"
    del fitted
    gc.collect()
    assert (tmp_path / "run" / "result.json").is_file()


def test_small_classes_that_are_left_out_are_no_classes(options: dict[str, Any]) -> None:
    X, y = images(41, classes=2)
    y = np.append(y[:-1], 9)
    fitted = TransferClassifier(**options, min_per_class=3).fit(X, y)
    assert fitted.classes_.tolist() == [0, 1]
    assert fitted.predict_proba(X).shape == (41, 2)


def test_groups_never_straddle_the_seal(options: dict[str, Any], tmp_path: Any) -> None:
    X, y = images(40)
    groups = np.arange(40) // 4
    fitted = TransferClassifier(**options, out=tmp_path / "run").fit(X, y, groups=groups)
    assert fitted.result_.data.groups == 10
    assert fitted.result_.data.n_test % 4 == 0


def test_rows_of_numbers_are_refused_with_the_shape_to_give(options: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"shape \(10, 64\) \(rows of numbers, not images\)") as error:
        TransferClassifier(**options).fit(np.zeros((10, 64)), np.arange(10) % 2)
    assert "(N, H, W)" in error.value.hint


def test_labels_that_are_no_classes_are_refused(options: dict[str, Any]) -> None:
    X, y = images(10)
    with pytest.raises(ValueError, match="continuous"):
        TransferClassifier(**options).fit(X, y + 0.5)
    with pytest.raises(ValueError, match="y is None"):
        TransferClassifier(**options).fit(X, None)
    with pytest.raises(DataError, match="9 values for 10 images"):
        TransferClassifier(**options).fit(X, y[:9])
