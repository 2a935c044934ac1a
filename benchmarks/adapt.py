"""Does `frostline adapt` choose well without target labels? Every arm's true figure, the choice and its regret.

    python benchmarks/adapt.py SCRATCH                   # both worlds, 10 draws each
    python benchmarks/adapt.py SCRATCH --worlds noise    # one of digits, sketch, noise

digits: source are digits rendered from fonts (tools/make_glyphs.py), target real handwriting (scikit-learn's digits).
sketch: source are the photos of pacs_photo_sketch, target its drawings, both read by the shared MobileNet at 64 x 64
pixels. noise: source are plain handwritten digits, target others on a grey, noisy ground; the rule of choice was
developed on data like these, so this world says less and isn't run by default.

The source's run is made once; each draw takes other target samples and another seed. Labels stay hidden until the
choice is made. Sizes and the rule of choice were fixed before any result was seen. SCRATCH keeps the runs, so an
interrupted benchmark goes on where it stopped. Prints a table a world, as markdown.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frostline.base.device import prepare_process
from frostline.base.seeds import numpy_generator
from frostline.demo import digits

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
PLAIN = (500, 400)  # handwritten digits to learn from, and sealed
NOISE = 0.4
PRINTED = 60  # digits of a class to learn from and to seal
TARGET_DIGITS = 300
TARGET_SKETCHES = 150
SIDE = 64
BOUND = 0.01  # the choice may be worse than no adaptation by so much on average

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A source to fit, as `frostline.fit` takes it, and a target to draw from: images with their labels."""

    name: str
    fit: Callable[[Path], None]
    target: Callable[[], tuple[list[Any], list[str]]]
    drawn: int


def main() -> None:
    """Run what is asked for and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--worlds", default="digits,sketch", help="names with commas between")
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    prepare_process(given.threads)
    given.scratch.mkdir(parents=True, exist_ok=True)
    for name in given.worlds.split(","):
        records = [draw_record(WORLDS[name], given.scratch, seed, given.threads) for seed in range(given.draws)]
        print(f"\n### {name}\n")
        print(arm_table(records))
        print()
        print(choice_sentences(records))


# -- the worlds


def fit_printed(out: Path) -> None:
    """Fit `glyphs` to rendered digits, written beside the run: a head on frozen features."""
    sys.path.insert(0, str(ROOT))
    import frostline
    from frostline.models.sources.glyphs_source import CLASSES
    from tools.make_glyphs import glyph

    data = out.with_name("printed")
    for place, letter in enumerate(CLASSES):
        if letter.isdigit():
            (data / letter).mkdir(parents=True, exist_ok=True)
            for turn in range(PRINTED):
                _, picture = glyph(0, place + turn * len(CLASSES))
                Image.fromarray(picture).save(data / letter / f"{turn}.png")
    frostline.fit(data, "glyphs", strategies="probe", augment="none", threads=1, out=out)


def handwriting() -> tuple[list[Any], list[str]]:
    """All scans, and what they show."""
    data = digits()
    return list(data["image"]), list(data["label"])


def fit_plain(out: Path) -> None:
    """Fit `glyphs` to plain handwriting, written beside the run: a head on frozen features."""
    import frostline

    images, labels = handwriting()
    data = out.with_name("plain")
    order = numpy_generator(0, "adapt-benchmark", "plain").permutation(len(images))[: sum(PLAIN)]
    for place, row in enumerate(order.tolist()):
        folder = data / ("train" if place < PLAIN[0] else "test") / labels[row]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(enlarged(images[row])).save(folder / f"{row}.png")
    frostline.fit(data, "glyphs", strategies="probe", augment="none", threads=1, out=out)


def enlarged(image: Any) -> Any:
    """Return a scan of 8 x 8 cells at 32 x 32."""
    return np.asarray(image).repeat(4, 0).repeat(4, 1)


def noisy_handwriting() -> tuple[list[Any], list[str]]:
    """All scans that the source of that world doesn't have, fainter and on a noisy ground, and what they show."""
    images, labels = handwriting()
    order = numpy_generator(0, "adapt-benchmark", "plain").permutation(len(images))[sum(PLAIN) :]
    shown = []
    for row in order.tolist():
        image = enlarged(images[row])
        noise = numpy_generator(row, "adapt-benchmark", "noise").normal(0, 45 * NOISE, image.shape)
        shown.append(np.clip(image * (1 - 0.4 * NOISE) + 60 * NOISE + noise, 0, 255).astype(np.uint8))
    return shown, [labels[row] for row in order.tolist()]


def fit_photos(out: Path) -> None:
    """Fit the MobileNet to photos: a head on frozen features. val/ is sealed."""
    import frostline

    network = SHARED / "mobilenetv1_075_imagenet"
    frostline.fit(
        SHARED / "pacs_photo_sketch" / "photo",
        f"torch:{network / 'model.py'}:mobilenetv1_075",
        weights=str(network / "mobilenetv1_075.safetensors"),
        size=SIDE,
        strategies="probe",
        augment="none",
        threads=1,
        out=out,
    )


def sketches() -> tuple[list[Any], list[str]]:
    """All drawings of both parts, and what they show."""
    files = sorted((SHARED / "pacs_photo_sketch" / "sketch").glob("*/*/*.jpg"))
    return [np.asarray(Image.open(file).convert("RGB")) for file in files], [file.parent.name for file in files]


WORLDS = {
    "digits": World(name="digits", fit=fit_printed, target=handwriting, drawn=TARGET_DIGITS),
    "sketch": World(name="sketch", fit=fit_photos, target=sketches, drawn=TARGET_SKETCHES),
    "noise": World(name="noise", fit=fit_plain, target=noisy_handwriting, drawn=TARGET_DIGITS),
}


# -- one draw


def draw_record(world: World, scratch: Path, seed: int, threads: int) -> Values:
    """Adapt the world's run to one draw of its target, with every arm, and return the record; kept ones are read."""
    import frostline
    from frostline.adapt.arms import ARMS, LABELLED

    kept = scratch / f"{world.name}-{seed}.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    run = scratch / f"{world.name}-source"
    if not (run / "result.json").is_file():
        shutil.rmtree(run, ignore_errors=True)
        world.fit(run)
    images, labels = world.target()
    rows = numpy_generator(seed, "adapt-benchmark", world.name).permutation(len(images))[: world.drawn]
    out = scratch / f"{world.name}-adapted"
    shutil.rmtree(out, ignore_errors=True)
    done = frostline.adapt_network(
        {"image": [images[i] for i in rows], "label": [labels[i] for i in rows]},
        f"run:{run}",
        target_labels="sealed",
        strategies=[name for name in ARMS if name not in LABELLED],
        seed=seed,
        threads=threads,
        trust_code=True,
        out=out,
    )
    record = done.result.model_dump(mode="json", by_alias=True)
    kept.write_text(json.dumps(record), encoding="utf-8")
    chosen, opened = record["choice"]["arm"], record["opened"]
    print(f"{world.name} {seed}: {chosen} {opened['chosen']:.3f}, as-is {opened['as_is']:.3f}", file=sys.stderr)
    return record


# -- tables


def arm_table(records: Sequence[Values]) -> str:
    """Return a row an arm: true accuracy, difference to the network as it is, estimate, how often it was chosen."""
    names = [arm["name"] for arm in records[0]["arms"]]
    chosen = Counter(record["choice"]["arm"] for record in records)
    lines = ["| arm | accuracy | to as-is, points (worst to best draw) | estimated | on the source | chosen |"]
    lines.append("|---|---|---|---|---|---|")
    for name in names:
        arms = [next(arm for arm in record["arms"] if arm["name"] == name) for record in records]
        if arms[0]["test"] is None:
            lines.append(f"| {name} | {arms[0]['reason']} | | | | |")
            continue
        true = np.array([arm["test"]["accuracy"] for arm in arms])
        gains = 100 * (true - np.array([record["opened"]["as_is"] for record in records]))
        difference = f"{gains.mean():+.1f} ({gains.min():+.1f} to {gains.max():+.1f})"
        cells = [name, f"{true.mean():.3f}", difference, _mean(arms, "estimated_accuracy"), _mean(arms, "held_out")]
        lines.append(f"| {' | '.join(cells)} | {chosen[name]} of {len(records)} |")
    return "\n".join(lines)


def _mean(arms: Sequence[Values], key: str) -> str:
    values = [arm[key]["accuracy"] if isinstance(arm[key], dict) else arm[key] for arm in arms if arm[key] is not None]
    return f"{np.mean(values):.3f}" if values else ""


def choice_sentences(records: Sequence[Values]) -> str:
    """Say what the choice reached, against the bound, and how far it is from the best arm."""
    opened = [record["opened"] for record in records]
    gains = np.array([one["chosen"] - one["as_is"] for one in opened])
    regrets = np.array([one["regret"] for one in opened])
    situations = Counter((record["diagnosis"] or {"situation": "not diagnosed"})["situation"] for record in records)
    verdict = "held" if gains.mean() >= -BOUND else "BROKEN"
    seconds = np.mean([record["cost"]["seconds"] for record in records])
    worst = f"worst draw {100 * gains.min():+.1f}"
    return (
        f"The choice: {100 * gains.mean():+.1f} points to no adaptation on average ({worst}); "
        f"bound of {-100 * BOUND:.0f} point {verdict}. Regret to the best arm {100 * regrets.mean():.1f} points "
        f"({100 * regrets.min():.1f} to {100 * regrets.max():.1f}). Diagnosis: "
        f"{', '.join(f'{name} {count}' for name, count in situations.items())}. {seconds:.0f} s a draw."
    )


if __name__ == "__main__":
    main()
