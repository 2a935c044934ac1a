"""What the hub sources share: is the place to download from within reach, and what to say where it isn't."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from frostline.base.errors import ModelError, nearest

SECONDS = 4.0  # hub clients retry for the better part of a minute; a user who is offline hears it after this long


def reachable(url: str, seconds: float = SECONDS) -> bool:
    """Whether the server answers at all (any status will do), within a few seconds."""
    answered: list[bool] = []

    def ask() -> None:
        try:
            question = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(question, timeout=seconds):  # nosec B310  # of hubs, named in this package
                answered.append(True)
        except urllib.error.HTTPError:
            answered.append(True)
        except (OSError, ValueError):
            return

    asking = threading.Thread(target=ask, daemon=True)  # name resolution has no time limit of its own
    asking.start()
    asking.join(seconds)
    return bool(answered)


def unknown(library: str, name: str, known: Iterable[str]) -> ModelError:
    """The nearest name, or how to see them all: there are too many to list."""
    close = nearest(name, known)
    listing = "torchvision.models.list_models()"
    if library == "timm":
        listing = "timm.list_models()"
    if close.startswith("Did"):
        hint = close
    else:
        hint = f"See {listing} in Python."
    return ModelError(f"{library} knows no classification network {name!r}.", hint)


def refuse_arguments(spec: str, given: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    """Raise ModelError for arguments that frostline gives itself, or that would download or unpickle; `refused` says
    why."""
    for name in given:
        if name in refused:
            raise ModelError(f"--model-args: {name!r} doesn't apply to {spec}: {refused[name]}.", "Leave it out.")


def offline(spec: str) -> ModelError:
    return ModelError(
        f"The weights of {spec} have to be downloaded and there is no connection.",
        "Give --weights FILE, or --weights random.",
    )


def downloaded(spec: str, url: str, fetch: Callable[[], Mapping[str, Tensor]], *, cached: bool) -> Mapping[str, Tensor]:
    """Weights from the hub, or from its local cache; raises ModelError at once where neither can be had."""
    if not cached and not reachable(url):
        raise offline(spec)
    try:
        return fetch()
    except Exception as error:  # the hub clients raise dozens of kinds
        if str(error):
            first = str(error).splitlines()[0]
        else:
            first = type(error).__name__
        raise ModelError(
            f"The weights of {spec} couldn't be downloaded ({first}).", "Give --weights FILE, or --weights random."
        ) from error


def called(spec: str, factory: Callable[..., nn.Module], arguments: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """The factory with its arguments; what it raises becomes a ModelError that names the spec."""

    def make() -> nn.Module:
        try:
            return factory(**arguments)
        except Exception as error:
            if str(error):
                first = str(error).splitlines()[0]
            else:
                first = type(error).__name__
            raise ModelError(
                f"{spec} can't be built with {dict(arguments)!r} ({type(error).__name__}: {first}).",
                "Check --model-args.",
            ) from error

    return make
