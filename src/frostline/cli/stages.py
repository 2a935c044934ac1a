"""`frostline stages`: the stage map of a network, with the places where it can be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli import options as o
from frostline.cli.parse import parse_numbers, parse_object
from frostline.cli.screen import operations, print_json, print_table

if TYPE_CHECKING:
    from frostline.base.records import StageInfo

Why = Annotated[bool, typer.Option("--why", help="Say why a stage can't be cut.", show_default=False)]


def stages(
    spec: o.Spec,
    weights: o.Weights = None,
    model_args: o.ModelArgs = None,
    mean: o.Mean = None,
    std: o.Std = None,
    size: o.Size = None,
    why: Why = False,
    json: o.Json = False,
) -> None:
    """Print the stages of a network, from the input (1) to the last before the head. No weights are needed."""
    arguments = parse_object(model_args, option="--model-args") if model_args else {}
    channels = {
        "mean": parse_numbers(mean, option="--mean") if mean else None,
        "std": parse_numbers(std, option="--std") if std else None,
    }
    from frostline.base.device import prepare_process

    prepare_process(None)
    from frostline.bundle.spec import resolve_network
    from frostline.models.network import NetworkOptions
    from frostline.train.prepare import map_network

    options = NetworkOptions(weights=weights or "random", model_args=arguments, size=size, **channels)
    _, mapped = map_network(resolve_network(spec, options))
    found = mapped.stages
    if json:
        print_json([as_json(stage) for stage in found])
    else:
        draw(found, why=why)


def as_json(stage: StageInfo) -> dict[str, Any]:
    """One stage as the record and `--json` spell it."""
    names = ("index", "name", "parameters", "output_shape", "stored_bytes", "operations", "cuttable", "why_not")
    return {name: getattr(stage, name) for name in names}


def draw(found: list[StageInfo] | tuple[StageInfo, ...], *, why: bool) -> None:
    """The table: where it can be cut, what a stored activation costs, where the operations are spent."""
    total = sum(stage.operations for stage in found) or 1.0
    rows = []
    for s in found:
        cut = "yes" if s.cuttable else f"no: {s.why_not}" if why else "no"
        shape = " x ".join(map(str, s.output_shape))
        rows.append((str(s.index), s.name, f"{s.parameters:,}", shape, f"{s.stored_bytes / 1000:.1f}",
                     f"{100 * s.operations / total:.0f} %", operations(s.operations), cut))  # fmt: skip
    header = ("stage", "name", "parameters", "output", "kB stored", "share", "operations", "cut")
    print_table(header, rows, right=("stage", "parameters", "output", "kB stored", "share", "operations"))
