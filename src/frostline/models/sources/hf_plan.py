"""What is built for the `hf:` source: the library's configuration, and what frostline puts around its network."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.models.sources.hf_encoder import TextEncoder
from frostline.models.sources.hf_folder import Pooled, library

Kind = Literal["image-classifier", "text-classifier", "text-encoder"]
BUILT = "hf.json"  # in a saved model's folder: what was found out about the original one
OWN = ("pooling", "normalise")  # --model-args that aren't the configuration's
READS: dict[Kind, str] = {
    "image-classifier": "pixel_values",
    "text-classifier": "input_ids",
    "text-encoder": "input_ids",
}


@dataclass(frozen=True, kw_only=True)
class HfPlan:
    """What is built: the library's configuration, and what frostline puts around it."""

    spec: str
    folder: Path
    config: Any
    kind: Kind
    pooled: Pooled
    reverse: bool = False  # the images' channels are handed on in the order BGR

    def files(self) -> dict[str, bytes]:
        """What building it again needs, under names of its own; no path or time in it."""
        config = json.loads(self.config.to_json_string(use_diff=False))
        config.pop("_name_or_path", None)
        note = {"kind": self.kind, **asdict(self.pooled), "reverse": self.reverse}
        return {
            name: json.dumps(found, indent=1, sort_keys=True).encode() + b"\n"
            for name, found in (("config.json", config), (BUILT, note))
        }

    def automatic(self) -> Any:
        """The library's class that builds it."""
        t = library()
        if without_decoder(self.config):
            encoder = t.AutoModelForTextEncoding
        else:
            encoder = t.AutoModel
        return {
            "image-classifier": t.AutoModelForImageClassification,
            "text-encoder": encoder,
            "text-classifier": t.AutoModelForSequenceClassification,
        }[self.kind]

    def arguments(self) -> dict[str, Any]:
        """Encoders are built without the extra layer that only the library's own pooling reads."""
        if self.kind != "text-encoder" or without_decoder(self.config):
            return {}
        kind = library().MODEL_MAPPING[type(self.config)]
        if isinstance(kind, list | tuple):
            kind = kind[0]
        known = inspect.signature(kind.__init__).parameters
        if "add_pooling_layer" in known:
            return {"add_pooling_layer": False}
        return {}

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The network that frostline sees: it ends in a linear layer."""
        reads = inspect.signature(model.forward).parameters
        wanted = READS[self.kind]
        if wanted not in reads:
            found = next(iter(reads), "nothing")
            raise ModelError(f"{self.spec} is a {type(model).__name__}, which reads {found}, not {wanted}.", KINDS_HINT)
        if self.kind != "text-encoder":
            model.register_forward_hook(only_scores)
            if self.reverse:
                return Reversed(model)
            return model
        width = getattr(self.config, "hidden_size", None) or getattr(self.config, "d_model", None)
        if not isinstance(width, int):
            raise ModelError(f"The configuration of {self.spec} doesn't say how wide its features are.", KINDS_HINT)
        return TextEncoder(model, width, self.pooled.pooling, normalise=self.pooled.normalise)


def only_scores(_module: nn.Module, _inputs: Any, found: Any) -> Any:
    """A hook: of what a classifier returns the scores alone, since what else it hands out is held alive across cuts."""
    if isinstance(found, Mapping) and "logits" in found:
        return {"logits": found["logits"]}
    return found


class Reversed(nn.Module):
    """A network that reads BGR, given RGB."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor) -> Any:
        """What the network returns of images (N, 3, H, W)."""
        return self.network(pixel_values.flip(1))


KINDS_HINT = "frostline reads networks that classify images or texts, and text encoders."


def without_decoder(config: Any) -> bool:
    """Whether it is the encoder of an encoder-decoder, as T5EncoderModel."""
    named = (getattr(config, "architectures", None) or [""])[0]
    return named.endswith("EncoderModel") and type(config) in library().MODEL_FOR_TEXT_ENCODING_MAPPING
