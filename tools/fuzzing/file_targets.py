"""Targets for the small files that a user writes by hand: recipes, label maps, classes and stages."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

from frostline.base.errors import FrostlineError
from frostline.base.records import StageInfo
from frostline.cutting.named import read_named
from frostline.data.class_map import map_classes, read_label_map, read_source_classes
from frostline.recipe.from_file import read_recipe_file, recipe_as_file, recipe_from_file
from tools.fuzzing.mutate import json_bytes, odd_bytes, odd_json, odd_text
from tools.fuzzing.target import Target, in_short

STRATEGIES = ("freeze@2", "probe", "finetune", "gradual", "lp-ft", "lora", "scratch", "bitfit", "surgical@2", "wise-ft")
STAGES = tuple(
    StageInfo(index=i, name=f"s{i}", parameters=10, output_shape=(4,), stored_bytes=16, operations=10.0, cuttable=True)
    for i in range(1, 6)
)
MAP = {"ants": ["ant", "pismire"], "bees": ["bee"], "wasps": "wasp"}
SOURCE = ("ant", "pismire", "bee", "wasp", "fly")


def file_targets() -> tuple[Target, ...]:
    """Files that a user writes by hand."""
    return (
        Target(name="recipes", write=_write_recipe, read=_read_recipe),
        Target(name="maps", write=_write_maps, read=_read_maps),
    )


def _write_recipe(random: Random, _valid: Path, folder: Path) -> None:
    while True:
        try:
            recipe = recipe_as_file(random.choice(STRATEGIES))
            break
        except FrostlineError:
            continue
    value = odd_json(random, json.loads(recipe.model_dump_json()))
    (folder / "mine.json").write_bytes(json_bytes(random, value))


def _read_recipe(_valid: Path, folder: Path) -> str:
    recipe, data = read_recipe_file(folder / "mine.json")
    return in_short((recipe_from_file(recipe, STAGES), len(data)))


def _write_maps(random: Random, _valid: Path, folder: Path) -> None:
    (folder / "map.json").write_bytes(json_bytes(random, odd_json(random, MAP)))
    lines = [random.choice((*SOURCE, odd_text(random))) for _ in range(random.randint(0, 6))]
    text = random.choice(("\n", "\r\n", "\r")).join(lines)
    (folder / "classes.txt").write_bytes(_maybe_odd(random, text))
    stages = {f"s{k}": random.choice(("conv1", "after layer3", "before fc", odd_text(random))) for k in range(3)}
    if random.random() < 0.5:
        (folder / "stages.txt").write_bytes(json_bytes(random, odd_json(random, stages)))
    else:
        text = "\n".join(f"{name} {where}" for name, where in stages.items())
        (folder / "stages.txt").write_bytes(_maybe_odd(random, text))


def _maybe_odd(random: Random, text: str) -> bytes:
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.3:
        return odd_bytes(random, data)
    return data


def _read_maps(_valid: Path, folder: Path) -> str:
    said = []
    given = {}
    source: tuple[str, ...] = SOURCE
    try:
        source = read_source_classes(folder / "classes.txt")
        said.append(in_short(source))
    except FrostlineError as error:
        said.append(str(error))
    try:
        said.append(in_short(read_named(folder / "stages.txt")))
    except FrostlineError as error:
        said.append(str(error))
    given = read_label_map(folder / "map.json")
    return in_short((*said, given, map_classes(source, tuple(given) or ("ants",), given)))
