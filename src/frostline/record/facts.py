"""What the methods paragraph needs to know of a run besides its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from frostline.data.contract import Contract
from frostline.data.texts import TextPreprocess
from frostline.data.views import Policy
from frostline.models.kinds import has_batchnorm
from frostline.recipe.recipe import Recipe, hidden_width
from frostline.train.refit import RefitResult
from frostline.train.study import Study


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the paragraph needs besides the record: about the chosen strategy, and how all were trained."""

    recipe: Recipe
    random: bool  # no pre-trained weights at all
    self_loading: bool  # the network's own code loads its weights
    batchnorm: bool  # the network has BatchNorm
    reads: str  # its input, such as "224 x 224 pixels" (width first)
    hidden: int  # units in the hidden layer of an MLP head
    batch_size: int
    policy: Policy
    views: int  # random views of each sample that the chosen strategy reads
    given_validation: bool  # the one block is a validation part that came with the data


def facts_of(study: Study, refitted: RefitResult) -> Facts:
    """Collect the facts of a finished run."""
    saved = refitted.saved
    network = study.network
    width = saved.head.in_features
    if saved.cut:
        width = saved.cut.shape[saved.cut.channel_axis]
    views = study.solved_views() if saved.recipe.is_solved else study.stepped_views()
    return Facts(
        recipe=saved.recipe,
        random=network.weights_name == "random",
        self_loading=network.self_loading,
        batchnorm=has_batchnorm(study.trunk.model),
        reads=reads(network.preprocess),
        hidden=hidden_width(width),
        batch_size=study.batch_size,
        policy=study.features.source.policy,
        views=len(views),
        given_validation=len(study.dataset.rows("validation")) > 0,
    )


def reads(contract: Contract) -> str:
    """Return the size of a network's input: `224 x 224 pixels` (width first), `32 tokens` or `up to 32 tokens`."""
    if isinstance(contract, TextPreprocess) and contract.lengths:
        return f"up to {contract.length} tokens"
    if isinstance(contract, TextPreprocess):
        return f"{contract.length} tokens"
    return f"{contract.size[1]} x {contract.size[0]} pixels"


def spoken(parts: Sequence[str]) -> str:
    """Join parts as in speech: `a`, `a and b`, `a, b and c`."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
