"""`frostline stages`: the stage map of a network, with the places where it can be cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from frostline.cli import options as o
from frostline.cli.parse import parse_numbers, parse_object
from frostline.cli.screen import operations, print_json, print_table, print_text

if TYPE_CHECKING:
    from frostline.base.records import StageInfo

Why = Annotated[
    bool,
    typer.Option(
        "--why", help="Say why a stage can't be cut, boundary by boundary, and what a cut asks for.", show_default=False
    ),
]


def stages(
    spec: o.Spec,
    weights: o.Weights = None,
    model_args: o.ModelArgs = None,
    mean: o.Mean = None,
    std: o.Std = None,
    size: o.Size = None,
    stages: o.Stages = None,
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
    from frostline.planning.prepare import map_network

    options = NetworkOptions(weights=weights or "random", model_args=arguments, size=size, **channels)
    _, mapped = map_network(resolve_network(spec, options), stages, headless=True)
    found = mapped.stages
    if json:
        print_json([as_json(stage) for stage in found])
    else:
        draw(found, why=why)
        if why:
            print_text("\n".join(line for stage in found for line in explained(stage)))


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
        rows.append(
            (
                str(s.index),
                s.name,
                f"{s.parameters:,}",
                shape,
                f"{s.stored_bytes / 1000:.1f}",
                f"{100 * s.operations / total:.0f} %",
                operations(s.operations),
                cut,
            )
        )
    header = ("stage", "name", "parameters", "output", "kB stored", "share", "operations", "cut")
    print_table(header, rows, right=("stage", "parameters", "output", "kB stored", "share", "operations"))


def explained(stage: StageInfo) -> list[str]:
    """What `--why` says below the table: each boundary that can't be cut with what is live across it, and of cuts the
    parameters read on both sides, the raw inputs that the rest reads too, and the pooling for a new head."""
    facts, start = stage.extra, f"{stage.index} {stage.name}"
    if not stage.cuttable:
        return [f"{start}: {stage.why_not}", *(f"    {line}" for line in facts.get("boundaries", []))]
    lines = [f"{start}: cut {stage.cut}"]
    if facts.get("straddling"):
        lines.append(f"    read before and after it, so they stay frozen with it: {', '.join(facts['straddling'])}")
    if facts.get("needs"):
        lines.append(f"    the rest of the network reads these raw inputs too: {', '.join(facts['needs'])}")
    if facts.get("pooling"):
        kind, blank, where = facts["pooling"].partition(" ")
        lines.append(f"    a new head there reads the {POOLINGS[kind]}{blank}{where}")
    return lines


POOLINGS = {"mean": "mean over places or tokens", "first": "first token", "last": "last token"}
