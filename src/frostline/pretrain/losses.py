"""What a network is trained by where nobody has labelled anything: losses, and tasks that make labels by themselves.

Shapes: N samples, D values of a projection, C channels, H rows, W columns, L places of a text.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

TURNS = 4  # by 0, 90, 180 and 270 degrees
EPSILON = 1e-4  # VICReg's, inside the root
IGNORED = -100  # places that cross entropy leaves out, as torch calls them
MASKED = 0.8  # of the chosen words; a tenth becomes a word at random, the rest stays as it is
REPLACED = 0.1


def nt_xent(first: Tensor, second: Tensor, temperature: float = 0.5) -> Tensor:
    """The normalised temperature-scaled cross entropy of two views of the same samples, each (N, D).

    Each of the 2N projections has to pick out the other view of its sample among all the others, by cosine similarity
    over `temperature`; the mean over all 2N. Source: Chen et al. 2020, "SimCLR", equation 1 and algorithm 1.
    """
    both = F.normalize(torch.cat([first, second]).float(), dim=1)
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    count = len(first)
    partner = torch.arange(2 * count, device=both.device).roll(count)
    return F.cross_entropy(similarity, partner)


@dataclass(frozen=True, slots=True, kw_only=True)
class VicregWeights:
    """Weights of the three terms, by default those of the paper."""

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0


def vicreg(first: Tensor, second: Tensor, weights: VicregWeights = VicregWeights()) -> Tensor:
    """The two views of a sample agree, every value varies over the batch, and no two values say the same.

    `first` and `second` are (N, D). Source: Bardes et al. 2022, "VICReg", equations 1 to 6; as in the authors' code
    the variance terms of the two views are averaged.
    """
    first = first.float()
    second = second.float()
    agreement = F.mse_loss(first, second)
    spread = (too_narrow(first) + too_narrow(second)) / 2
    redundancy = shared_covariance(first) + shared_covariance(second)
    return weights.invariance * agreement + weights.variance * spread + weights.covariance * redundancy


def too_narrow(values: Tensor) -> Tensor:
    """How far the standard deviations of the columns of (N, D) lie below 1, on average."""
    return F.relu(1 - (values.var(0) + EPSILON).sqrt()).mean()


def shared_covariance(values: Tensor) -> Tensor:
    """The sum of the squared covariances of different columns of (N, D), over D."""
    centred = values - values.mean(0)
    covariance = centred.T @ centred / (len(values) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / values.shape[1]


def quarter_turns(images: Tensor) -> tuple[Tensor, Tensor]:
    """All four quarter turns of square images (N, C, H, H), as (4N, C, H, H), and by how many each was turned (4N,).

    A network that tells them apart has to know how things stand. Source: Gidaris et al. 2018, section 3.1.
    """
    turned = torch.cat([torch.rot90(images, turns, (2, 3)) for turns in range(TURNS)])
    return turned, torch.arange(TURNS, device=images.device).repeat_interleave(len(images))


def with_holes(images: Tensor, holes: Tensor) -> Tensor:
    """Images (N, C, H, W) whose values are those of their mean colour where the coarse mask (N, h, w) is True.

    Masking noise in patches. Source: Vincent et al. 2008, section 2.3.
    """
    mask = F.interpolate(holes[:, None].to(images.dtype), size=images.shape[2:], mode="nearest")
    return torch.lerp(images, images.mean((2, 3), keepdim=True), mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What masking needs to know of a tokenizer: the number of its tokens, its mask, and its other marks."""

    size: int
    mask: int
    marks: frozenset[int]

    @property
    def words(self) -> np.ndarray:
        """The ids that stand for words or parts of them, rising."""
        return np.setdiff1d(np.arange(self.size), sorted({self.mask, *self.marks}))


def masked_words(
    ids: Tensor, there: Tensor, vocabulary: Vocabulary, share: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Hide words of texts (N, L): what the network reads, and what it has to say, IGNORED where nothing is asked.

    Of the words where `there` is True, `share` are chosen, at least one a text. Of these 80 % become the mask, 10 % a
    word at random, and 10 % stay. Source: Devlin et al. 2019, section 3.1.
    """
    found = ids.cpu().numpy()
    usable = there.cpu().numpy().astype(bool) & ~np.isin(found, sorted(vocabulary.marks))
    order = np.where(usable, generator.random(found.shape), np.inf)
    wanted = np.maximum(1, np.rint(share * usable.sum(1)))
    chosen = usable & (order.argsort(1).argsort(1) < wanted[:, None])
    fate = generator.random(found.shape)
    words = vocabulary.words
    replacement = words[generator.integers(len(words), size=found.shape)]
    read = np.where(chosen & (fate < MASKED), vocabulary.mask, found)
    read = np.where(chosen & (fate >= MASKED) & (fate < MASKED + REPLACED), replacement, read)
    asked = np.where(chosen, found, IGNORED)
    return torch.from_numpy(read).to(ids.device), torch.from_numpy(asked).to(ids.device)
