"""What each method asks of a network, with the small networks that it needs beside it and that are thrown away.

Shapes: N samples, D features, C channels, H rows, W columns, L places of a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from frostline.base.device import Compute, autocast
from frostline.base.errors import ModelError, RecipeError, nearest
from frostline.base.records import IntArray
from frostline.base.seeds import derive_seed, numpy_generator
from frostline.cutting.cuts import Cut
from frostline.cutting.guard import forked_seed
from frostline.cutting.inputs import call_of
from frostline.cutting.split import run_to
from frostline.data.contract import Contract, ViewOf, to_inputs, views_of
from frostline.data.preprocess import Preprocess
from frostline.data.unlabelled import Unlabelled
from frostline.data.views import SMALL, Policy, augment_policy
from frostline.models.network import Network
from frostline.pretrain.body import Body
from frostline.pretrain.losses import TURNS, VicregWeights, nt_xent, quarter_turns, vicreg, with_holes
from frostline.pretrain.masked import MaskedWords
from frostline.pretrain.monitor import unit_spread

PROJECTION = 128  # values that views are compared by
EXPANSION = 512  # VICReg compares in many
DECODED = 32  # pixels of the image that is restored, at most
DECODER_WIDTH = 32
# The restored pixels (0 to 1) are brought to about -2 to 2, whatever scale the network reads them in.
MIDDLE = 0.5
RANGE = 0.25
HOLES = 8  # patches along a side that are left out or kept


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Samples by their index, in a step (from 0) of an epoch (from 0)."""

    rows: IntArray
    epoch: int
    step: int


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The network, the samples, and how both are computed; `arguments` are the method's own."""

    network: Network
    body: Body
    data: Unlabelled
    compute: Compute
    seed: int
    arguments: Mapping[str, float]

    def inputs(self, rows: IntArray, view: int, policy: Policy) -> Any:
        """Return the network's inputs for one view of some samples."""
        data = self.data
        names = [data.hashes[i] for i in rows]
        how = ViewOf(view=view, policy=policy, seed=self.seed, threads=self.compute.threads)
        views = views_of(data.samples.select(rows), names, data.contract, how)
        return to_inputs(views, data.contract, device=self.compute.device, channels_last=self.compute.channels_last)

    def drawn(self, what: str, build: Callable[[], nn.Module]) -> nn.Module:
        """Return a small network, drawn from the seed, on the device."""
        with forked_seed(derive_seed(self.seed, "pretrain", what)):
            return build().to(self.compute.device)


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised. `beside` is trained too and thrown away afterwards; `note` is a sentence for the user.

    `spread` says of features (N, D) how far apart their projections lie, where views are compared by projections.
    """

    beside: nn.Module
    loss: Callable[[Batch], Tensor]
    note: str | None = None
    spread: Callable[[Tensor], float] | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method: what it reads, its settings where the user gives none, and its own arguments with their values.

    `rate` holds for random weights, `rate_on` for weights that are given; `views` of a sample run through the network
    in each step.
    """

    words: str
    source: str
    reads: Literal["images", "texts"]
    build: Callable[[Setup], Objective]
    epochs: int
    rate: float
    rate_on: float
    batch_size: int
    views: int
    arguments: Mapping[str, float]


def two_view_policy(preprocess: Preprocess) -> Policy:
    """Return the strong views of SimCLR and VICReg.

    Colour images over 32 pixels: crops of 20 to 100 % of the area, mirrored, with strong changes of light and
    colour. On others, where a crop soon cuts the object off and its mirror image may be another class, crops of 50 % or
    more, turns by up to 15 degrees, no mirror images.
    """
    photo = preprocess.mode == "RGB" and max(preprocess.size) > SMALL
    return Policy(
        name="standard",
        area=(0.2, 1.0) if photo else (0.5, 1.0),
        ratio=(3 / 4, 4 / 3) if photo else (0.8, 1.25),
        flip=photo,
        rotate=0.0 if photo else 15.0,
        light=0.0 if preprocess.mode == "N" else 0.4,
        saturation=0.8 if preprocess.mode == "RGB" else 0.0,
    )


def _image_contract(contract: Contract) -> Preprocess:
    assert isinstance(contract, Preprocess)
    return contract


def _two_views(
    setup: Setup,
    beside: nn.Module,
    compare: Callable[[Tensor, Tensor], Tensor],
    measure: Callable[[Tensor], float],
) -> Objective:
    """Two random views of every sample go through the network in one batch, and `compare` reads their projections.

    `measure` says how far apart projections (N, D) lie.
    """
    policy = two_view_policy(_image_contract(setup.data.contract))

    def loss(batch: Batch) -> Tensor:
        views = [setup.inputs(batch.rows, 1 + 2 * batch.epoch + copy, policy) for copy in range(2)]
        with autocast(setup.compute):
            features = setup.body.features(torch.cat(views))
        first, second = beside(features.float()).chunk(2)
        return compare(first, second)

    def projected_spread(features: Tensor) -> float:
        with torch.no_grad():
            return measure(beside.eval()(features.to(setup.compute.device)).cpu())

    return Objective(beside=beside, loss=loss, spread=projected_spread)


def _simclr(setup: Setup) -> Objective:
    width = setup.body.width
    temperature = setup.arguments["temperature"]
    projector = setup.drawn(
        "projector", lambda: nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, PROJECTION))
    )
    return _two_views(setup, projector, lambda first, second: nt_xent(first, second, temperature), unit_spread)


def _vicreg(setup: Setup) -> Objective:
    weights = VicregWeights(**setup.arguments)
    width = setup.body.width

    def expander() -> nn.Module:
        hidden = (nn.Linear(width, EXPANSION), nn.BatchNorm1d(EXPANSION), nn.ReLU())
        return nn.Sequential(*hidden, nn.Linear(EXPANSION, EXPANSION))

    return _two_views(
        setup,
        setup.drawn("expander", expander),
        lambda first, second: vicreg(first, second, weights),
        lambda projected: float(projected.std(0).mean()),  # what its variance term keeps at 1
    )


def _rotation(setup: Setup) -> Objective:
    contract = _image_contract(setup.data.contract)
    height, width = contract.size
    if height != width:
        raise ModelError(
            f"--method rotation turns square images, and the network reads {height} x {width} pixels.",
            "Give another --method: simclr, vicreg or denoise.",
        )
    policy = augment_policy(None, contract)
    head = setup.drawn("turns", lambda: nn.Linear(setup.body.width, TURNS))

    def loss(batch: Batch) -> Tensor:
        turned, turns = quarter_turns(setup.inputs(batch.rows, 1 + batch.epoch, policy))
        if setup.compute.channels_last:
            turned = turned.contiguous(memory_format=torch.channels_last)
        with autocast(setup.compute):
            features = setup.body.features(turned)
        return F.cross_entropy(head(features.float()), turns)

    return Objective(beside=head, loss=loss)


class Decoder(nn.Module):
    """From a feature map (N, C, h, w), or features (N, D), to a image (N, channels, side, side).

    Doubled in size by repetition and 3 x 3 convolutions until it is as large.
    """

    def __init__(self, width: int, channels: int, start: int, side: int, *, pooled: bool) -> None:
        super().__init__()
        first: nn.Module = nn.Conv2d(width, DECODER_WIDTH, 1)
        if pooled:
            first = nn.Sequential(
                nn.Linear(width, DECODER_WIDTH * start * start), nn.Unflatten(1, (DECODER_WIDTH, start, start))
            )
        layers: list[nn.Module] = [first, nn.ReLU()]
        while start < side:
            start *= 2
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(DECODER_WIDTH, DECODER_WIDTH, 3, padding=1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(DECODER_WIDTH, channels, 3, padding=1))
        self.side = side

    def forward(self, features: Tensor) -> Tensor:
        """Compute the image."""
        found: Tensor = self.layers(features)
        return F.adaptive_avg_pool2d(found, self.side)


def _denoise(setup: Setup) -> Objective:
    contract = _image_contract(setup.data.contract)
    policy = augment_policy(None, contract)
    side = min(DECODED, *contract.size)
    cut = setup.body.map_cut()
    start = 4 if cut is None else max(cut.shape[2:])
    width = setup.body.width if cut is None else cut.shape[1]
    decoder = setup.drawn("decoder", lambda: Decoder(width, contract.channels, start, side, pooled=cut is None))
    share = setup.arguments["holes"]
    mean, std = (
        torch.tensor(values, device=setup.compute.device)[:, None, None] for values in (contract.mean, contract.std)
    )

    def loss(batch: Batch) -> Tensor:
        images = setup.inputs(batch.rows, 1 + batch.epoch, policy)
        generator = numpy_generator(setup.seed, "holes", batch.step)
        holes = torch.from_numpy(generator.random((len(images), HOLES, HOLES)) < share).to(images.device)
        with autocast(setup.compute):
            features = _map_or_features(setup.body, cut, with_holes(images, holes))
        wanted = F.adaptive_avg_pool2d((images * std + mean - MIDDLE) / RANGE, side)
        return F.mse_loss(decoder(features.float()), wanted)

    return Objective(beside=decoder, loss=loss)


def _map_or_features(body: Body, cut: Cut | None, images: Tensor) -> Tensor:
    if cut is None:
        return body.features(images)
    return run_to(body.model, [cut], call_of(images))[0]


def _mlm(setup: Setup) -> Objective:
    task = MaskedWords.of(setup.network, setup.body.model, setup.data.contract, setup.seed)
    share = setup.arguments["share"]
    ids = np.asarray(setup.data.samples.ids)  # type: ignore[union-attr]  # texts, as `reads` says

    def loss(batch: Batch) -> Tensor:
        generator = numpy_generator(setup.seed, "words", batch.step)
        with autocast(setup.compute):
            return task.loss(torch.from_numpy(ids[batch.rows]), share, generator, setup.compute.device)

    note = None
    if task.drawn:
        note = f"{setup.network.spec} has no head that guesses words: a new one was drawn, and learns it first."
    return Objective(beside=task.head.to(setup.compute.device), loss=loss, note=note)


METHODS: dict[str, Method] = {
    "simclr": Method(
        words="two views of one image are told from all others",
        source="Chen et al. 2020, SimCLR",
        reads="images",
        build=_simclr,
        epochs=50,
        rate=1e-3,
        rate_on=1e-4,
        batch_size=128,
        views=2,
        arguments={"temperature": 0.5},
    ),
    "vicreg": Method(
        words="two views of one image agree, while every value goes on varying",
        source="Bardes et al. 2022, VICReg",
        reads="images",
        build=_vicreg,
        epochs=50,
        rate=1e-3,
        rate_on=1e-4,
        batch_size=128,
        views=2,
        arguments={"invariance": 25.0, "variance": 25.0, "covariance": 1.0},
    ),
    "rotation": Method(
        words="by how many quarter turns a image was turned",
        source="Gidaris et al. 2018",
        reads="images",
        build=_rotation,
        epochs=50,
        rate=1e-3,
        rate_on=1e-4,
        batch_size=32,
        views=4,
        arguments={},
    ),
    "denoise": Method(
        words="a image is restored from one with holes in it",
        source="Vincent et al. 2008",
        reads="images",
        build=_denoise,
        epochs=50,
        rate=1e-3,
        rate_on=1e-4,
        batch_size=32,
        views=1,
        arguments={"holes": 0.5},
    ),
    "mlm": Method(
        words="hidden words are guessed",
        source="Devlin et al. 2019",
        reads="texts",
        build=_mlm,
        epochs=5,
        rate=5e-5,
        rate_on=5e-5,
        batch_size=16,
        views=1,
        arguments={"share": 0.15},
    ),
}


def find_method(name: str) -> Method:
    """Return the method of that name. Raises RecipeError for another one."""
    if name not in METHODS:
        raise RecipeError(f"--method {name!r} doesn't exist.", nearest(name, ["supervised", *METHODS]))
    return METHODS[name]


def check_reads(name: str, contract: Contract, spec: str) -> None:
    """Raise RecipeError where a method is for images and the network reads texts, or the other way round."""
    reads = "images" if isinstance(contract, Preprocess) else "texts"
    if METHODS[name].reads == reads:
        return
    fitting = [other for other, method in METHODS.items() if method.reads == reads]
    raise RecipeError(
        f"--method {name} is for {METHODS[name].reads}, and {spec} reads {reads}.",
        f"For {reads}: {', '.join(fitting)}.",
    )
