"""Everything a user can set for one comparison, checked once at the edge. What is None follows a written rule."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from frostline.base.errors import RecipeError, nearest
from frostline.recipe.recipe import BatchNorm, batchnorm_policy

Augment = Literal["none", "light", "standard"]
Prefer = Literal["cheapest", "accuracy"]
Precision = Literal["auto", "fp32", "bf16"]
Head = Literal["linear", "mlp"]
Metric = Literal["accuracy", "balanced-accuracy", "f1-macro", "log-loss"]  # those of stats.contributions


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of `frostline fit` as the user gave them (docs/options.md lists the options).

    Raises RecipeError on values out of range: rates, margins and counts have to be positive, words have to be known.
    """

    data: Path
    model: str
    weights: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: int | None = None
    stages: Path | None = None  # stages by hand (models.named)
    source_classes: Path | None = None
    label_map: Path | None = None
    out: Path | None = None
    strategies: tuple[str, ...] = ("auto",)
    head: Head = "linear"
    metric: Metric = "accuracy"
    class_weights: bool = False
    batchnorm: BatchNorm | None = None
    labels_per_class: int | None = None
    min_per_class: int | None = None
    pool_validation: bool = False
    blocks: int | None = None
    epochs: int | None = None
    lr: float | None = None
    layer_decay: float | None = None  # factor on the rate from a stage to the one before it
    batch_size: int | None = None
    augment: Augment | None = None
    budget: float | None = None  # seconds
    margin: float = 0.01  # accuracy that the user gives away for a cheaper strategy
    prefer: Prefer = "cheapest"
    abstain: float | None = None  # how often answers have to be right; less sure ones are marked
    evaluate_all: bool = False
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    store: str | None = None  # a folder, or 'off'
    trust_code: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        counts = ("size", "labels_per_class", "min_per_class", "blocks", "epochs", "batch_size", "threads")
        for name in counts:
            value = getattr(self, name)
            if value is None:
                continue
            if type(value) is not int:
                raise RecipeError(f"{option(name)} {value!r} is not a whole number.", "Give one of at least 1.")
            if value < 1:
                raise RecipeError(f"{option(name)} {value} is below 1.", "Give a whole number of at least 1.")
        if self.batch_size == 1:
            raise RecipeError("--batch-size 1: BatchNorm can't train on a single sample.", "Give at least 2.")
        for name in ("lr", "margin"):
            if getattr(self, name) is not None and not _is_number(getattr(self, name)):
                raise RecipeError(f"{option(name)} {getattr(self, name)!r} is not a number.", "Give one such as 0.01.")
        if self.budget is not None:
            budget_seconds(self.budget)
        if self.lr is not None and not 0 < self.lr < float("inf"):
            raise RecipeError(f"--lr {self.lr:g} is not a learning rate.", "Give a number above 0, such as 1e-4.")
        if self.layer_decay is not None and not (_is_number(self.layer_decay) and 0 < self.layer_decay <= 1):
            raise RecipeError(f"--layer-decay {self.layer_decay!r} is not above 0 and at most 1.", "0.75 is usual.")
        if not 0 <= self.margin < 1:
            raise RecipeError(f"--margin {self.margin:g} is not between 0 and 1.", "0.01 is one point of accuracy.")
        if self.abstain is not None and not (_is_number(self.abstain) and 0 < self.abstain < 1):
            raise RecipeError(f"--abstain {self.abstain!r} is not between 0 and 1.", "0.95 is 95 % of answers right.")
        if type(self.seed) is not int:
            raise RecipeError(f"--seed {self.seed!r} is not a whole number.", "Give one of at least 0.")
        if self.seed < 0:
            raise RecipeError(f"--seed {self.seed} is negative.", "Give a whole number of at least 0.")
        if self.std is not None and min(self.std) <= 0:
            raise RecipeError(f"--std {min(self.std):g} is not above 0.", "Pixels are divided by it.")
        if not self.strategies:
            raise RecipeError("--strategies is empty.", "Give names with commas between, or auto.")
        if self.batchnorm is not None:
            batchnorm_policy(self.batchnorm)
        for name, words in (
            ("augment", Augment),
            ("prefer", Prefer),
            ("precision", Precision),
            ("head", Head),
            ("metric", Metric),
        ):
            value = getattr(self, name)
            if value is not None and value not in get_args(words):
                raise RecipeError(f"{option(name)} {value!r} is not known.", nearest(str(value), get_args(words)))

    @property
    def store_off(self) -> bool:
        return self.store == "off"

    def identity(self) -> dict[str, Any]:
        """What has to be equal for a run to be resumed: all that can change a result (not where it is written)."""
        skip = {"out", "resume", "trust_code", "store"}
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items() if k not in skip} | {
            "store_off": self.store_off
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def settings_from(data: str | Path, model: str, options: Mapping[str, Any]) -> Settings:
    """Settings from plain Python values: text for paths, one number or several for mean and std, names with commas.

    Raises RecipeError for an option that doesn't exist.
    """
    known = Settings.__dataclass_fields__
    for name in options:
        if name not in known:
            raise RecipeError(f"fit() has no option {name!r}.", nearest(name, known))
    given = {k: _CONVERT[k](v) if k in _CONVERT and v is not None else v for k, v in options.items()}
    return Settings(data=Path(data), model=model, **given)


def keyword_parameters(*, without: Collection[str] = ()) -> list[inspect.Parameter]:
    """The settings as keyword-only parameters with their defaults, for the signatures of Python's front doors."""
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_plain_default(f), annotation=f.type)
        for f in fields(Settings)
        if f.name not in without
    ]


def _plain_default(setting: Field[Any]) -> Any:
    if setting.name == "strategies":
        return "auto"
    if setting.default is MISSING:
        return None
    return setting.default


_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def budget_seconds(value: str | float) -> float:
    """Seconds of a budget such as 90, 90s, 10m or 1.5h. Raises RecipeError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smh]?)", str(value).strip())
    seconds = 0.0
    if found:
        seconds = float(found[1]) * _UNITS[found[2]]
    if seconds <= 0:
        raise RecipeError(f"--budget {value} is not a time.", "Give one such as 90s, 10m or 1.5h.")
    return seconds


def _split_names(value: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(value.split(","))
    return tuple(value)


def _number_tuple(value: float | Sequence[float]) -> tuple[float, ...]:
    try:
        if isinstance(value, (int, float)):
            return (float(value),)
        return tuple(float(v) for v in value)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{value!r} is not a mean or std.", "Give one number, or one for each channel.") from error


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "budget": budget_seconds,
    "out": Path,
    "stages": Path,
    "source_classes": Path,
    "label_map": Path,
    "weights": str,
    "store": str,
    "strategies": _split_names,
    "mean": _number_tuple,
    "std": _number_tuple,
}


def option(name: str) -> str:
    """The command-line spelling of a setting."""
    return "--" + name.replace("_", "-")
