"""Where networks come from: one file a source, found by the prefix of the spec."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from frostline.base.errors import ModelError, nearest
from frostline.models.network import Network, NetworkOptions
from frostline.models.sources import glyphs_source, hf_source, keras_source, timm_source, torch_file, torchvision_source

FORMS = (
    "Forms: timm:NAME, torchvision:NAME, hf:NAME-or-FOLDER, keras:NAME, keras:FILE.keras, torch:FILE.py:factory, "
    "glyphs, run:RUN."
)

SOURCES: dict[str, Callable[[str, NetworkOptions], Network]] = {
    "torch": torch_file.load,
    "timm": timm_source.load,
    "torchvision": torchvision_source.load,
    "keras": keras_source.load,
    "hf": hf_source.load,
}
FOLDER_SPECS = ("hf:.", "timm:.")  # in a saved model: the network is built from what lies beside it
OWN: dict[str, Callable[[NetworkOptions], Network]] = {"glyphs": glyphs_source.load}  # specs without a colon


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
        suggestion = close if close.startswith("Did") else ""
        raise ModelError(f"--model {spec!r} names no source of networks.", f"{suggestion} {FORMS}".strip())
    if not rest:
        raise ModelError(f"--model {spec!r} has nothing after the colon.", FORMS)
    return replace(SOURCES[prefix](rest, options), model_args=dict(options.model_args))
