"""Images and texts under one roof: what both offer, whichever a network reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.base.errors import DataError, RecipeError
from frostline.base.files import parse_json, read_regular
from frostline.base.records import IntArray
from frostline.data.images import Images
from frostline.data.preprocess import Preprocess, to_input
from frostline.data.texts import KIND, TOKENIZER, TextPreprocess, Texts, bucket_lengths, ids_and_mask
from frostline.data.views import Policy, augment_policy, make_views
from frostline.recipe.settings import Augment

if TYPE_CHECKING:
    from torch import Tensor

Contract = Preprocess | TextPreprocess
Samples = Images | Texts

FILE = "preprocess.json"


def policy_for(setting: Augment | None, contract: Contract) -> Policy:
    """The policy of `--augment`; texts have none. Raises RecipeError where one is asked for."""
    if isinstance(contract, Preprocess):
        return augment_policy(setting, contract)
    if setting not in (None, "none"):
        raise RecipeError(f"--augment {setting} doesn't apply: texts aren't varied.", "Leave it out.")
    return Policy(name="none")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewOf:
    """Which view is made (0: the evaluation view), under which policy and seed, by how many threads."""

    view: int
    policy: Policy
    seed: int
    threads: int


def views_of(samples: Samples, names: Sequence[str], contract: Contract, how: ViewOf) -> Tensor:
    """What is stored of a view: uint8 (N, C, H, W) of images, int32 (N, L) of texts (the same in every view)."""
    import torch

    if isinstance(samples, Texts):
        return torch.from_numpy(samples.ids)
    assert isinstance(contract, Preprocess)
    return torch.from_numpy(
        make_views(samples, names, contract, how.policy, seed=how.seed, view=how.view, threads=how.threads)
    )


def evaluation_views(samples: Samples, contract: Contract, threads: int) -> Tensor:
    """View 0 of every sample."""
    how = ViewOf(view=0, policy=policy_for("none", contract), seed=0, threads=threads)
    return views_of(samples, [""] * len(samples), contract, how)


def to_inputs(views: Tensor, contract: Contract, *, device: Any, channels_last: bool) -> Tensor | dict[str, Tensor]:
    """The network's inputs on `device`: floats (N, C, H, W), or `input_ids` and `attention_mask` (N, L) of texts.

    Texts are cut to the length of the bucket of the longest one here: give those of one bucket (:func:`input_lengths`).
    """
    if isinstance(contract, Preprocess):
        return to_input(views, contract, device=device, channels_last=channels_last)
    if contract.lengths:
        views = views[:, : int(bucket_lengths(views.numpy(), contract.lengths).max())]
    return ids_and_mask(views, contract.pad, device)


def input_lengths(samples: Samples, contract: Contract) -> IntArray | None:
    """Places of the network's input for each sample (N,); None where all have the same shape, as images do."""
    if isinstance(samples, Texts) and isinstance(contract, TextPreprocess) and contract.lengths:
        return bucket_lengths(samples.ids, contract.lengths)
    return None


def view_bytes(contract: Contract) -> float:
    """Bytes of a sample's view, beside which its activations are weighed; texts have a single view, so that storing
    any activation is worth it: without limit."""
    if isinstance(contract, Preprocess):
        return float(contract.channels * contract.size[0] * contract.size[1])
    return float("inf")


def view_form(contract: Contract) -> dict[str, Any]:
    """What a stored view depends on; mean and std are applied later."""
    return {k: v for k, v in contract.to_json().items() if k not in ("mean", "std")}


def contract_files(contract: Contract) -> dict[str, bytes]:
    """The files beside preprocess.json that belong to it."""
    if isinstance(contract, TextPreprocess):
        return {TOKENIZER: contract.tokenizer.encode()}
    return {}


def read_contract(folder: Path) -> Contract:
    """The contract that a saved model's folder holds. Raises FileNotFoundError, ValueError (no JSON), DataError."""
    record = parse_json(read_regular(folder / FILE))
    if not isinstance(record, Mapping):
        raise DataError(f"{folder / FILE} is not a JSON object.", "Run frostline fit again.")
    if record.get("kind") == KIND:
        return TextPreprocess.from_json(record, read_regular(folder / TOKENIZER).decode())
    return Preprocess.from_json(record)
