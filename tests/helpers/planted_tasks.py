"""Tasks with a known right answer: tiny images, a tiny network, and weights that are good or bad in one known way.

Images have 18 x 18 pixels, the short side before the crop to 16, so nothing is resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

SIDE, WIDTH, MARKS = 18, 16, 6
GAIN = 100.0  # of the early stages of a delicate network
FAR = 3  # dilation of the second stage: pixels that far apart meet there for the first time

# `gain` is part of the code, not of the weights: a stage whose weights are small can still have a large output.
NETWORK = """
from torch import nn

MEAN, STD, INPUT_SIZE = (0.5,) * 3, (0.5,) * 3, (3, 16, 16)


class Stage(nn.Module):
    def __init__(self, cin, kernel, dilation, gain):
        super().__init__()
        self.conv = nn.Conv2d(cin, 16, kernel, padding=kernel // 2 * dilation, dilation=dilation)
        self.gain = gain

    def forward(self, x):
        return (self.conv(x) * self.gain).relu()


class Net(nn.Module):
    def __init__(self, gain):
        super().__init__()
        self.stage1 = Stage(3, 3, 1, gain)
        self.stage2 = Stage(16, 3, 3, gain)
        self.stage3 = Stage(16, 3, 1, 1.0)
        self.stage4 = Stage(16, 1, 1, 1.0)
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return self.head(x.mean((2, 3)))


def net(gain=1.0):
    return Net(gain)
"""

Images = NDArray[np.uint8]  # (N, 18, 18, 3)
Labelled = tuple[Images, NDArray[np.int64]]
State = dict[str, Tensor]


@dataclass(frozen=True)
class Task:
    """Where the data, the network's file and its weights lie."""

    data: Path
    model: str
    weights: str


def write_task(root: Path, parts: dict[str, Labelled], state: State) -> Task:
    """Write images as PNG files in split folders, the network's code and its weights."""
    for part, (pictures, labels) in parts.items():
        for index, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
            folder = root / "data" / part / f"class{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"{index:04d}.png", compress_level=1)
    (root / "net.py").write_text(NETWORK, encoding="utf-8")
    save_file(state, root / "weights.safetensors")
    return Task(root / "data", f"torch:{root / 'net.py'}:net", str(root / "weights.safetensors"))


def drawn_state(seed: int) -> State:
    """Weights as an untrained network has them: random kernels (He et al. 2015), no biases."""
    generator = torch.Generator().manual_seed(seed)
    state: State = {}
    for stage, (cin, side) in enumerate(((3, 3), (WIDTH, 3), (WIDTH, 3), (WIDTH, 1)), 1):
        kernel = torch.randn(WIDTH, cin, side, side, generator=generator) * (2 / (side**2 * cin)) ** 0.5
        state |= {f"stage{stage}.conv.weight": kernel, f"stage{stage}.conv.bias": torch.zeros(WIDTH)}
    return state | {"head.weight": torch.randn(4, WIDTH, generator=generator) * 0.1, "head.bias": torch.zeros(4)}


def killed(state: State, stage: int) -> State:
    """The stage's ReLU never fires: it carries nothing forward, and no gradient comes back through it."""
    return state | {f"stage{stage}.conv.bias": torch.full((WIDTH,), -1e3)}


def tints(rng: np.random.Generator, per_class: int) -> Labelled:
    """Three classes of colour noise, each with its own hue: all are equally bright, so grey pixels can't tell."""
    labels = np.repeat(np.arange(3), per_class)
    luma = np.array([0.299, 0.587, 0.114])
    first = np.cross(luma, [0, 0, 1])
    plane = np.stack([v / np.linalg.norm(v) for v in (first, np.cross(luma, first))])
    angle = 2 * np.pi * labels / 3
    hue = np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane
    values = 128 + 40 * hue[:, None, None] + rng.normal(0, 30, (len(labels), SIDE, SIDE, 3))
    return np.clip(values, 0, 255).astype(np.uint8), labels


def parity_field(rng: np.random.Generator, sign: NDArray[np.int64], flipped: float) -> NDArray[np.int64]:
    """Colours of +1 and -1, (N, 18, 18, 3): blue is `sign` (N, 18, 18) times the red 3 to the left times the green 3
    above, but for a share of `flipped` pixels. Single pixels, pairs of them and every 3 x 3 window are pure noise.
    """
    red, green = rng.choice((-1, 1), (2, *sign.shape))
    blue = sign * np.roll(red, FAR, axis=2) * np.roll(green, FAR, axis=1)
    blue *= np.where(rng.random(sign.shape) < flipped, -1, 1)
    return np.stack([red, green, blue], axis=-1)


def parity(rng: np.random.Generator, per_class: int, flipped: float = 0.1) -> Labelled:
    """Two classes that differ in the sign of a product of three far pixels only."""
    labels = np.repeat(np.arange(2), per_class)
    sign = np.broadcast_to((2 * labels - 1)[:, None, None], (len(labels), SIDE, SIDE))
    return ((parity_field(rng, sign, flipped) + 1) * 127.5).astype(np.uint8), labels


def parity_state(seed: int) -> State:
    """Two stages made by hand that read :func:`parity_field`: stage 1 tells +1 from -1 in each colour, stage 2 has a
    detector for each of the eight triples. What is left of them is drawn.
    """
    state = drawn_state(seed)
    first, second = state["stage1.conv.weight"], state["stage2.conv.weight"]
    first[:6], second[:8] = 0, 0
    for colour in range(3):
        first[2 * colour, colour, 1, 1], first[2 * colour + 1, colour, 1, 1] = 1, -1
    for triple in range(8):
        bits = [triple >> i & 1 for i in range(3)]
        for colour, (row, column) in enumerate(((1, 0), (0, 1), (1, 1))):
            second[triple, 2 * colour + bits[colour], row, column] = 1
    state["stage2.conv.bias"][:8] = -2
    return state


def layouts(rng: np.random.Generator, per_class: int) -> Labelled:
    """Two classes with as many pixels of either parity: in bands that lie, or in bands that stand."""
    labels = np.repeat(np.arange(2), per_class)
    band = np.where((np.arange(SIDE) + rng.integers(0, 6, (len(labels), 1))) // 3 % 2, 1, -1)
    lying = np.broadcast_to(band[:, :, None], (len(labels), SIDE, SIDE))
    sign = np.where(labels[:, None, None], lying.swapaxes(1, 2), lying)
    return ((parity_field(rng, sign, 0.02) + 1) * 127.5).astype(np.uint8), labels


def delicate_state(seed: int) -> State:
    """:func:`parity_state` with small early weights behind a large gain, so that a step of any use to the later stages
    breaks them; stages 3 and 4 hand on what they get and look at nothing around it, as stage 4 never can."""
    state = parity_state(seed)
    state["stage2.conv.bias"][8:] = -GAIN * 1e3
    for name in ("stage1", "stage2"):
        state |= {k: v / GAIN for k, v in state.items() if k.startswith(name)}
    for name in ("stage3", "stage4"):
        hand_on(state[f"{name}.conv.weight"], WIDTH)
    state["stage3.conv.weight"][8:] = state["stage3.conv.weight"][:8]
    return state


def hand_on(kernel: Tensor, channels: int) -> None:
    """Make the first channels of a kernel the identity."""
    kernel[:channels] = 0
    kernel[:channels, :channels, kernel.shape[2] // 2, kernel.shape[3] // 2] = torch.eye(channels)


def marks() -> NDArray[np.int64]:
    """Signs of 3 x 3 pixels, each +1 and -1 (0 in the middle): (6, 3, 3)."""
    rim = ("++++----", "+-+-+-+-", "++--++--", "+--++--+", "+--+-++-", "++----++")
    values = np.array([[1 if c == "+" else -1 for c in word] for word in rim])
    return np.insert(values, 4, 0, axis=1).reshape(MARKS, 3, 3)


def two_colours(rng: np.random.Generator, per_class: int) -> Labelled:
    """Six classes: red shows the class's mark at eight places, green that of some other class, blue only noise."""
    labels = np.repeat(np.arange(MARKS), per_class)
    others = (labels + rng.integers(1, MARKS, len(labels))) % MARKS
    values = rng.normal(0, 0.1, (len(labels), SIDE, SIDE, 3))
    for picture, *shown in zip(values, labels, others, strict=True):
        for colour, mark in enumerate(shown):
            top, left = rng.integers(0, 3, 2)
            for place in rng.choice(25, 8, replace=False):
                row, column = top + 3 * (place // 5), left + 3 * (place % 5)
                picture[row : row + 3, column : column + 3, colour] += 0.7 * marks()[mark]
    return np.clip(127.5 * (1 + values), 0, 255).astype(np.uint8), labels


def mark_state(seed: int) -> State:
    """A network that knows the marks but no colour: every kernel of stage 1 is the same in red, green and blue, as
    where a network that learnt on grey images is given three channels; the later stages hand the marks on.
    """
    state = drawn_state(seed)
    first = state["stage1.conv.weight"]
    first[:MARKS] = torch.from_numpy(marks()).float()[:, None] / 12
    first[MARKS:] = first[MARKS:].mean(1, keepdim=True)
    state["stage1.conv.bias"][:MARKS] = -0.2
    for stage in (2, 3, 4):
        hand_on(state[f"stage{stage}.conv.weight"], MARKS)
    return state
