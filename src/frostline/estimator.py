"""`frostline.fit` as a classifier of scikit-learn: for pipelines, cross-validation and searches over settings."""

from __future__ import annotations

import inspect
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from frostline.base.errors import BundleError, DataError
from frostline.base.records import FloatArray
from frostline.bundle.predict import Bundle, load
from frostline.bundle.schema import RunResult
from frostline.data.raw import as_numpy, is_array
from frostline.pipeline import fit
from frostline.recipe.settings import keyword_parameters

NOT_HERE = ("data", "model", "resume", "conclude", "pool_validation")  # settings that have no meaning for arrays
PARAMETERS = keyword_parameters(without=NOT_HERE)
OPTIONS: dict[str, Any] = {parameter.name: parameter.default for parameter in PARAMETERS}


class TransferClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Compare strategies on images or texts, refit the chosen one, and predict with it.

    Args:
        model: the pre-trained network, as `--model` names it.
        settings: any field of :class:`frostline.recipe.settings.Settings`, with its default. `out` is the RUN folder;
            where it is None, a temporary one is used, which is deleted with the estimator.

    Attributes:
        classes_: the labels, sorted, in the type in which they were passed.
        result_: the record of the run (result.json). `result_.test` holds the figures on the fifth of the samples
            that was sealed: nothing was learnt from those, not even by the fitted network.
        run_: the RUN folder.
        n_features_in_: values per image, where all were passed in one array.

    Like `fit`, the estimator seals a fifth of its samples. A cross-validation score is therefore that of a network
    trained on four fifths of each training part. A fitted estimator can be pickled: the pickle holds the saved model,
    and the user's own code in it runs only where this user has named it before (or with `trust_code`).
    """

    def __init__(self, model: str, **settings: Any) -> None:
        unknown = next((name for name in settings if name not in OPTIONS), None)
        if unknown is not None:
            raise TypeError(f"TransferClassifier got an unexpected keyword argument {unknown!r}")
        self.model = model
        for name, default in OPTIONS.items():
            setattr(self, name, settings.get(name, default))

    def fit(self, X: Any, y: Any, groups: Any = None) -> Self:
        """Run the comparison.

        Args:
            X: images, as :func:`frostline.fit` takes them: (N, H, W), (N, H, W, C), (N, C, H, W) or a list; or a
                list of texts, where the network reads texts.
            y: one label per sample: text or whole numbers.
            groups: one name or number per sample; a group is never divided by a split.

        Raises:
            FrostlineError: with what was found, what was expected and what to do next.
            ValueError: labels that aren't classes.
        """
        if y is None:
            raise ValueError("TransferClassifier requires y to be passed, but the target y is None.")
        labels = column_or_1d(as_numpy(y) if is_array(y) else np.asarray(y), warn=True)
        check_classification_targets(labels)
        classes = np.unique(labels)
        data = {"X": X, "label": [str(label) for label in labels.tolist()], "group": groups}
        options = {name: getattr(self, name) for name in OPTIONS if getattr(self, name) is not None}
        folder = Path(options.pop("out", None) or _temporary(self) / "run")
        finished = fit(data, self.model, out=folder, **options)
        self.result_: RunResult = finished.result
        self.run_: Path = finished.path
        self._bundle: Bundle | None = load(finished.path, trust_code=True, device=self.device)
        self._take_classes(classes)
        if is_array(X):
            self.n_features_in_ = int(np.prod(np.shape(X)[1:]))
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Return probabilities (N, C), one column per class of `classes_`."""
        return self._fitted().predict_proba(X)[:, self._columns]

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable label of each image or text."""
        best = self.predict_proba(X).argmax(axis=1)
        labels: NDArray[Any] = self.classes_[best]
        return labels

    def _take_classes(self, classes: NDArray[Any]) -> None:
        """Set `classes_`, without those that min_per_class left out; the bundle sorts the others by name."""
        places = {name: k for k, name in enumerate(self._fitted().classes)}
        kept = [k for k, label in enumerate(classes.tolist()) if str(label) in places]
        self.classes_: NDArray[Any] = classes[kept]
        self._columns = [places[str(label)] for label in self.classes_.tolist()]

    def _fitted(self) -> Bundle:
        check_is_fitted(self, "result_")
        if self._bundle is None:
            self._bundle = load(self.run_, trust_code=bool(self.trust_code), device=self.device)
        return self._bundle

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Return the estimator's state, with the saved model in place of the network in memory."""
        state: dict[str, Any] = super().__getstate__().copy()
        if state.pop("_bundle", None) is None and "run_" not in state:
            return state
        model = state.pop("run_") / "model"
        if not model.is_dir():
            raise BundleError(
                f"The estimator can't be pickled: its RUN folder {model.parent} is gone.", "Fit it again."
            )
        state["_files"] = {file.name: file.read_bytes() for file in sorted(model.iterdir()) if file.is_file()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        files = {**state}.pop("_files", None)
        super().__setstate__({k: v for k, v in state.items() if k != "_files"})
        if files is None:
            return
        self.run_ = _temporary(self)
        self._bundle = None
        (self.run_ / "model").mkdir()
        for name, data in files.items():
            if Path(name).name != name:
                raise DataError(f"The pickled estimator holds a file {name!r}.", "The pickle has been modified.")
            (self.run_ / "model" / name).write_bytes(data)


def _temporary(owner: TransferClassifier) -> Path:
    """Make a folder that is deleted with its estimator."""
    folder = Path(tempfile.mkdtemp(prefix="frostline-"))
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return folder


# scikit-learn reads an estimator's parameters from this signature; the fields of Settings are their one list
TransferClassifier.__init__.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        *PARAMETERS,
    ]
)
