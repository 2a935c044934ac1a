"""Masked words: the network of texts with the head of its library that guesses hidden words.

The encoder is the very one that is pre-trained; the head comes from the network's folder where that has one.
Source: Devlin et al. 2019, section 3.1.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.errors import ModelError
from frostline.base.seeds import derive_seed
from frostline.cutting.guard import forked_seed
from frostline.data.contract import Contract
from frostline.data.texts import PADDING, TextPreprocess, ids_and_mask
from frostline.models.network import Network
from frostline.models.sources.hf_encoder import TextEncoder
from frostline.models.sources.hf_folder import find_folder, first_line, library, network_folder, quiet
from frostline.models.sources.hf_plan import BUILT
from frostline.pretrain.losses import IGNORED, Vocabulary, masked_words

MASKS = ("[MASK]", "<mask>", "<MASK>")
HINT = "Give an hf: folder of a masked-language model, such as a BERT, with its tokenizer."


@dataclass(frozen=True)
class MaskedWords:
    """The library's network for masked words around the encoder that is trained. `head` is what it has beside that."""

    whole: nn.Module
    head: nn.Module
    vocabulary: Vocabulary
    pad: int
    drawn: bool  # the head was drawn at random, since there was none

    @classmethod
    def of(cls, network: Network, model: nn.Module, contract: Contract, seed: int) -> MaskedWords:
        """Put the library's head on the encoder in `model`, which is built as `network` says.

        Raises ModelError for networks that read text in one direction, and for a tokenizer without a mask.
        """
        if network.source != "hf" or not isinstance(contract, TextPreprocess):
            raise ModelError(f"--method mlm continues networks of the library transformers, not {network.spec}.", HINT)
        encoder = _encoder(model)
        config = copy.deepcopy(encoder.config)
        if type(config) not in library().MODEL_FOR_MASKED_LM_MAPPING:
            raise ModelError(f"{network.spec} is a {config.model_type}, which has no head for masked words.", HINT)
        vocabulary = vocabulary_of(contract, network.spec)
        with forked_seed(derive_seed(seed, "pretrain", "words")), quiet():
            whole, drawn = _with_word_head(network, config)
        prefix = whole.base_model_prefix
        setattr(whole, prefix, encoder)
        whole.tie_weights()
        return cls(whole, _WordHead(whole, encoder), vocabulary, contract.pad, drawn)

    def loss(self, views: Tensor, share: float, generator: np.random.Generator, device: str) -> Tensor:
        """Hide `share` of the words of some texts, int32 (N, L), and return the cross entropy of the guesses."""
        places = int((views != PADDING).sum(1).max()) + 1  # the last stays empty, as in every batch
        inputs = ids_and_mask(views[:, :places], self.pad, "cpu")
        there = inputs["attention_mask"]
        read, asked = masked_words(inputs["input_ids"], there, self.vocabulary, share, generator)
        scores = self.whole(input_ids=read.to(device), attention_mask=there.to(device)).logits
        return F.cross_entropy(scores.float().flatten(0, 1), asked.to(device).flatten(), ignore_index=IGNORED)


class _WordHead(nn.Module):
    """The parameters of the whole network that the encoder doesn't have, under one roof."""

    def __init__(self, whole: nn.Module, encoder: nn.Module) -> None:
        super().__init__()
        own = {id(p) for p in encoder.parameters()}
        self.values = nn.ParameterList([p for p in whole.parameters() if id(p) not in own])
        object.__setattr__(self, "whole", whole)  # not a child: the encoder isn't counted twice

    def train(self, mode: bool = True) -> _WordHead:
        """Put the head into training mode with the rest."""
        super().train(mode)
        self.__dict__["whole"].train(mode)
        return self


def _encoder(model: nn.Module) -> Any:
    """Return the library's encoder within frostline's network."""
    if isinstance(model, TextEncoder):
        return model.encoder
    return getattr(model, str(getattr(model, "base_model_prefix", "")))


def _with_word_head(network: Network, config: Any) -> tuple[Any, bool]:
    """Return the library's network with the head of the network's own folder, or with a drawn one; and which it is."""
    automatic = library().AutoModelForMaskedLM
    folder = network_folder(find_folder(network.spec.removeprefix("hf:")))
    if (folder / BUILT).is_file() or not list(folder.glob("*.safetensors")):
        return automatic.from_config(config), True
    try:
        whole, info = automatic.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # the library raises dozens of kinds
        raise ModelError(f"The head of {network.spec} can't be read ({first_line(error)}).", HINT) from error
    return whole, _lacks_head(whole, info["missing_keys"])


def _lacks_head(whole: Any, missing: Collection[str]) -> bool:
    base = f"{whole.base_model_prefix}."
    return any(not name.startswith(base) for name in missing)


def vocabulary_of(contract: TextPreprocess, spec: str) -> Vocabulary:
    """Return what masking needs of a tokenizer. Raises ModelError for one that has no mask."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(contract.tokenizer)
    mask = next((found for name in MASKS if (found := tokenizer.token_to_id(name)) is not None), None)
    if mask is None:
        raise ModelError(f"The tokenizer of {spec} has no token that hides a word ({' or '.join(MASKS[:2])}).", HINT)
    special = tokenizer.get_added_tokens_decoder()
    marks = {number for number, token in special.items() if token.special}
    return Vocabulary(size=tokenizer.get_vocab_size(), mask=mask, marks=frozenset({*marks, contract.pad, mask}))
