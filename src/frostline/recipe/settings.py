"""Everything a user can set for one comparison, checked once at the edge. None means that a written rule decides."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from frostline.base.errors import RecipeError, nearest
from frostline.base.memory import memory_bytes
from frostline.recipe.recipe import BatchNorm, batchnorm_policy

Augment = Literal["none", "light", "standard"]
Prefer = Literal["cheapest", "accuracy"]
Precision = Literal["auto", "fp32", "bf16"]
Head = Literal["linear", "mlp"]
MetricName = Literal["accuracy", "balanced-accuracy", "f1-macro", "log-loss"]  # those of stats.contributions
PretrainMethod = Literal["simclr", "vicreg", "rotation", "denoise", "mlm"]  # those of pretrain.objectives


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of `frostline fit` as the user gave them (docs/options.md lists the options).

    Raises RecipeError on values out of range: rates, margins and counts have to be positive, words have to be known.
    """

    data: Path
    model: str  # one spec, or several with commas between: SPEC,SPEC=FILE,SPEC=random
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
    metric: MetricName = "accuracy"
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
    margin: float = 0.01  # accuracy that the user would give up for a cheaper strategy
    prefer: Prefer = "cheapest"
    abstain: float | None = None  # share of answers that have to be right; less sure ones are flagged
    evaluate_all: bool = False
    pretrain: Path | None = None  # own unlabelled data, on which a copy of the network is trained first
    pretrain_method: PretrainMethod | None = None
    pretrain_epochs: int | None = None
    target: Path | None = None  # data of another distribution, on which the strategies are tested too
    source_data: Path | None = None  # labelled data of the task that the network was trained on
    seed: int = 0
    device: str = "auto"
    precision: Precision = "auto"
    threads: int | None = None
    max_memory: str | None = None  # 4GB, 500MB, 60%: what this process may hold, by default three quarters of all
    store: str | None = None  # a folder, or 'off'
    trust_code: bool = False
    resume: bool = False
    conclude: bool = False  # an interrupted run, with what it has measured

    def __post_init__(self) -> None:
        for name, check in _CHECKS:
            value = getattr(self, name)
            if value is not None or name in _NEVER_NONE:
                check(option(name), value)

    @property
    def continues(self) -> bool:
        """True where an interrupted run is taken up."""
        return self.resume or self.conclude

    @property
    def tests_all(self) -> bool:
        """True where every strategy that was measured is refitted and tested, and not the verdict alone."""
        return self.evaluate_all or self.target is not None or self.source_data is not None

    @property
    def store_off(self) -> bool:
        return self.store == "off"

    def identity(self) -> dict[str, Any]:
        """Return what has to be equal for a run to be resumed: all that can change a result, so not its places
        and limits."""
        places = {"out", "resume", "conclude", "trust_code", "store", "max_memory"}
        values: dict[str, Any] = {}
        for name, value in asdict(self).items():
            if name in places:
                continue
            if isinstance(value, Path):
                value = str(value)
            values[name] = value
        return {**values, "store_off": self.store_off}


def option(name: str) -> str:
    """Return the command-line spelling of a setting."""
    return "--" + name.replace("_", "-")


def _check_count(name: str, value: Any) -> None:
    _check_whole_number(name, value, least=1)
    if value < 1:
        raise RecipeError(f"{name} {value} is below 1.", "Give a whole number of at least 1.")


def _check_whole_number(name: str, value: Any, *, least: int) -> None:
    if type(value) is not int:  # bool is a subclass of int
        raise RecipeError(f"{name} {value!r} is not a whole number.", f"Give a whole number of at least {least}.")


def _check_batch_size(name: str, value: int) -> None:
    if value == 1:
        raise RecipeError(f"{name} 1: BatchNorm can't train on a single sample.", "Give at least 2.")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_number(name: str, value: Any) -> None:
    if not _is_number(value):
        raise RecipeError(f"{name} {value!r} is not a number.", "Give a number such as 0.01.")


def _check_budget(_name: str, value: Any) -> None:
    budget_seconds(value)


def _check_memory(_name: str, value: Any) -> None:
    memory_bytes(value, 1)


def _check_lr(name: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise RecipeError(f"{name} {value:g} is not a learning rate.", "Give a number above 0, such as 1e-4.")


def _check_layer_decay(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value <= 1):
        raise RecipeError(f"{name} {value!r} is not above 0 and at most 1.", "Give a factor such as 0.75.")


def _check_margin(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise RecipeError(f"{name} {value:g} is not between 0 and 1.", "One percentage point of accuracy is 0.01.")


def _check_abstain(name: str, value: Any) -> None:
    if not (_is_number(value) and 0 < value < 1):
        raise RecipeError(f"{name} {value!r} is not between 0 and 1.", "For 95 % correct answers give 0.95.")


def _check_seed(name: str, value: Any) -> None:
    _check_whole_number(name, value, least=0)
    if value < 0:
        raise RecipeError(f"{name} {value} is negative.", "Give a whole number of at least 0.")


def _check_std(name: str, value: tuple[float, ...]) -> None:
    if min(value) <= 0:
        raise RecipeError(
            f"{name} {min(value):g} is not above 0.", "Give numbers above 0: pixel values are divided by them."
        )


def _check_strategies(name: str, value: tuple[str, ...]) -> None:
    if not value:
        raise RecipeError(f"{name} is empty.", "Give names with commas between, or auto.")


def _check_batchnorm(_name: str, value: Any) -> None:
    batchnorm_policy(value)


def _one_of(words: tuple[str, ...]) -> Check:
    def check(name: str, value: Any) -> None:
        if value not in words:
            raise RecipeError(f"{name} {value!r} is not known.", nearest(str(value), words))

    return check


Check = Callable[[str, Any], None]  # is given the option's name and its value
_NEVER_NONE = ("margin", "seed", "strategies")
_CHECKS: tuple[tuple[str, Check], ...] = (  # in this order: the first that fails is the one the user reads
    ("size", _check_count),
    ("labels_per_class", _check_count),
    ("min_per_class", _check_count),
    ("blocks", _check_count),
    ("epochs", _check_count),
    ("pretrain_epochs", _check_count),
    ("batch_size", _check_count),
    ("threads", _check_count),
    ("batch_size", _check_batch_size),
    ("lr", _check_number),
    ("margin", _check_number),
    ("budget", _check_budget),
    ("max_memory", _check_memory),
    ("lr", _check_lr),
    ("layer_decay", _check_layer_decay),
    ("margin", _check_margin),
    ("abstain", _check_abstain),
    ("seed", _check_seed),
    ("std", _check_std),
    ("strategies", _check_strategies),
    ("batchnorm", _check_batchnorm),
    ("augment", _one_of(get_args(Augment))),
    ("prefer", _one_of(get_args(Prefer))),
    ("precision", _one_of(get_args(Precision))),
    ("head", _one_of(get_args(Head))),
    ("metric", _one_of(get_args(MetricName))),
    ("pretrain_method", _one_of(get_args(PretrainMethod))),
)


def settings_from(data: str | Path, model: str, options: Mapping[str, Any]) -> Settings:
    """Make settings from plain values: text for paths, one number or several for mean and std, names with commas.

    Raises RecipeError for an option that doesn't exist.
    """
    known = Settings.__dataclass_fields__
    for name in options:
        if name not in known:
            raise RecipeError(f"fit() has no option {name!r}.", nearest(name, known))
    converted: dict[str, Any] = {}
    for name, value in options.items():
        if name in _CONVERT and value is not None:
            value = _CONVERT[name](value)
        converted[name] = value
    return Settings(data=Path(data), model=model, **converted)


def keyword_parameters(*, without: Collection[str] = ()) -> list[inspect.Parameter]:
    """Return the settings as keyword-only parameters with their defaults, for the signatures of public functions."""
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


_SECONDS_PER_UNIT = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def budget_seconds(value: str | float) -> float:
    """Return the seconds of a budget such as 90, 90s, 10m or 1.5h. Raises RecipeError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)([smh]?)", str(value).strip())
    seconds = 0.0
    if match:
        seconds = float(match[1]) * _SECONDS_PER_UNIT[match[2]]
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
        raise RecipeError(f"{value!r} is not a mean or std.", "Give one number, or one per channel.") from error


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "budget": budget_seconds,
    "out": Path,
    "stages": Path,
    "source_classes": Path,
    "label_map": Path,
    "pretrain": Path,
    "target": Path,
    "source_data": Path,
    "weights": str,
    "store": str,
    "strategies": _split_names,
    "mean": _number_tuple,
    "std": _number_tuple,
}
