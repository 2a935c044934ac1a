"""`frostline stages`: the stage map of a network, with the boundaries where it can be cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from frostline.cli import options as o
from frostline.cli.parse import parse_numbers, parse_object
from frostline.cli.screen import operations, print_json, print_table, print_text, print_warning

if TYPE_CHECKING:
    from frostline.base.records import StageInfo

WhyOption = Annotated[
    bool, o.flag_option(o.OUTPUT_PANEL, "--why", "Explain which boundaries can't be cut, and what the cuts depend on.")
]


def stages_verb(
    spec: o.SpecArgument,
    weights: o.WeightsOption = None,
    model_args: o.ModelArgsOption = None,
    mean: o.MeanOption = None,
    std: o.StdOption = None,
    size: o.SizeOption = None,
    stages: o.StagesOption = None,
    why: WhyOption = False,
    json: o.JsonOption = False,
) -> None:
    """List the stages of a network, from the input (1) to the last before the head. No weights are needed."""
    arguments = parse_object(model_args or "{}", option="--model-args")
    channels = {}
    if mean:
        channels["mean"] = parse_numbers(mean, option="--mean")
    if std:
        channels["std"] = parse_numbers(std, option="--std")
    from frostline.base.device import prepare_process

    prepare_process(None)
    from frostline.bundle.spec import resolve_network
    from frostline.models.network import NetworkOptions
    from frostline.planning.prepare import map_network

    options = NetworkOptions(weights=weights or "random", model_args=arguments, size=size, **channels)
    network = resolve_network(spec, options)
    for note in network.notes:
        print_warning(note)
    _, mapped = map_network(network, stages, headless=True)
    if json:
        print_json([stage_json(stage) for stage in mapped.stages])
        return
    print_stages(mapped.stages, why=why)
    if why:
        print_text("\n".join(line for stage in mapped.stages for line in explanation(stage)))


def stage_json(stage: StageInfo) -> dict[str, Any]:
    """Return one stage with the keys that the record uses."""
    names = ("index", "name", "parameters", "output_shape", "stored_bytes", "operations", "cuttable", "why_not")
    return {name: getattr(stage, name) for name in names}


def print_stages(stages: Sequence[StageInfo], *, why: bool) -> None:
    """Print the table: where the network can be cut, what a stored activation costs, where operations are spent."""
    total = sum(stage.operations for stage in stages) or 1.0
    rows = []
    for s in stages:
        shape = " x ".join(map(str, s.output_shape))
        stored = f"{s.stored_bytes / 1000:.1f}"
        share = f"{100 * s.operations / total:.0f} %"
        cut = _cut_cell(s, why=why)
        rows.append((str(s.index), s.name, f"{s.parameters:,}", shape, stored, share, operations(s.operations), cut))
    header = ("stage", "name", "parameters", "output", "kB stored", "share", "operations", "cut")
    print_table(header, rows, right=("stage", "parameters", "output", "kB stored", "share", "operations"))


def _cut_cell(stage: StageInfo, *, why: bool) -> str:
    if stage.cuttable:
        return "yes"
    if why:
        return f"no: {stage.why_not}"
    return "no"


def explanation(stage: StageInfo) -> list[str]:
    """Return the lines of `--why` on a stage.

    Where it can't be cut: each boundary, with what is live across it. Where it can: parameters read on both sides, raw
    inputs that the rest of the network reads too, and the pooling for a new head.
    """
    facts = stage.extra
    start = f"{stage.index} {stage.name}"
    if not stage.cuttable:
        return [f"{start}: {stage.why_not}", *(f"    {line}" for line in facts.get("boundaries", []))]
    lines = [f"{start}: cut {stage.cut}"]
    if facts.get("straddling"):
        lines.append(f"    read before and after it, so frozen together with it: {', '.join(facts['straddling'])}")
    if facts.get("needs"):
        lines.append(f"    the rest of the network reads these raw inputs too: {', '.join(facts['needs'])}")
    if facts.get("pooling"):
        kind, blank, where = facts["pooling"].partition(" ")
        lines.append(f"    a new head there reads the {POOLINGS[kind]}{blank}{where}")
    return lines


POOLINGS = {"mean": "mean over positions or tokens", "first": "first token", "last": "last token"}
