"""Where networks come from: one file and one entry in SOURCES for each source, found by the prefix of the spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from frostline.base.errors import ModelError, nearest
from frostline.models.network import Network, NetworkOptions
from frostline.models.sources import glyphs_source, hf_source, keras_source, timm_source, torch_file, torchvision_source

Load = Callable[[str, NetworkOptions], Network]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One row of the table of sources.

    `load` gets what follows the colon. `forms` are how its specs are written. `from_folder`: its networks bring
    `files`, and a saved model is built again from its own folder (spec `prefix:.`).
    """

    load: Load
    forms: tuple[str, ...]
    from_folder: bool = False


SOURCES: dict[str, Source] = {
    "torch": Source(load=torch_file.load_torch_file, forms=("torch:FILE.py:factory",)),
    "timm": Source(load=timm_source.load_timm, forms=("timm:NAME-or-FOLDER",), from_folder=True),
    "torchvision": Source(load=torchvision_source.load_torchvision, forms=("torchvision:NAME",)),
    "hf": Source(load=hf_source.load_hf, forms=("hf:NAME-or-FOLDER",), from_folder=True),
    "keras": Source(load=keras_source.load_keras, forms=("keras:NAME", "keras:FILE.keras")),
}
OWN: dict[str, Callable[[NetworkOptions], Network]] = {"glyphs": glyphs_source.load_glyphs}  # specs without a colon


def spec_forms() -> tuple[str, ...]:
    """How a spec can be written, source by source; `run:` is bundle.spec's."""
    return (*(form for source in SOURCES.values() for form in source.forms), *OWN, "run:RUN")


def is_folder_spec(spec: str) -> bool:
    """Whether a saved model's spec says that its network is built from what lies beside it."""
    prefix, _, rest = spec.partition(":")
    return rest == "." and prefix in SOURCES and SOURCES[prefix].from_folder


def load_network(spec: str, options: NetworkOptions | None = None) -> Network:
    """The network that a spec names, with its weights read and tried.

    Raises ModelError for an unknown or malformed spec, a name that isn't known (the nearest is suggested), code that
    fails, weights that don't fit, or weights that would have to be downloaded where there is no connection.
    """
    options = options or NetworkOptions()
    prefix, colon, rest = spec.partition(":")
    if spec in OWN:
        return replace(OWN[spec](options), model_args=dict(options.model_args))
    if prefix not in SOURCES or not colon:
        close = nearest(prefix, SOURCES if colon else OWN)
        suggestion = ""
        if close.startswith("Did"):
            suggestion = close
        raise ModelError(f"--model {spec!r} names no source of networks.", f"{suggestion} {_forms()}".strip())
    if not rest:
        raise ModelError(f"--model {spec!r} has nothing after the colon.", _forms())
    return replace(SOURCES[prefix].load(rest, options), model_args=dict(options.model_args))


def _forms() -> str:
    return f"Forms: {', '.join(spec_forms())}."
