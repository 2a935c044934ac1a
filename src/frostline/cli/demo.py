"""`frostline demo`: every strategy on real handwriting, from the network that the package brings along."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import parse_names
from frostline.cli.screen import print_text, stdout_width

LabelsPerClass = Annotated[
    int,
    typer.Option("--labels-per-class", help="Labels of each digit.", metavar="N", rich_help_panel=o.DATA),
]
Strategies = Annotated[
    str | None,
    typer.Option(
        "--strategies",
        help="Names with commas between, instead of the demo's own.",
        metavar="a,b,c",
        rich_help_panel=o.COMPARISON,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs", help="Passes over the labels, instead of the demo's own.", metavar="N", rich_help_panel=o.TRAINING
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out", help="RUN folder to write; by default runs/demo-N.", metavar="RUN", rich_help_panel=o.MACHINE
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        help="CPU threads; by default 1, since the images are small.",
        metavar="N",
        rich_help_panel=o.MACHINE,
    ),
]


def demo(
    ctx: typer.Context,
    labels_per_class: LabelsPerClass = 5,
    seed: o.Seed = 0,
    strategies: Strategies = None,
    epochs: Epochs = None,
    out: Out = None,
    threads: Threads = None,
    store: o.Store = None,
    plain: o.Plain = False,
    json: o.Json = False,
) -> None:
    """Transfer a network that knows printed letters to handwritten digits with 5 labels each: no files, no network."""
    from frostline.base.device import prepare_process

    prepare_process(threads)
    from frostline.demo import demo as run_demo
    from frostline.demo import explain

    chosen = {
        "strategies": parse_names(strategies) if strategies else None,
        "epochs": epochs,
        "threads": threads,
        "store": store,
    }
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        finished = run_demo(labels_per_class=labels_per_class, seed=seed, out=out, emit=screen.emit, **given)
        result = finished.result.model_dump(mode="json", by_alias=True)
        if json:
            screen.result(result, run=finished.path)
            return
    from frostline.report.tables import result_text

    print_text(result_text(result, stdout_width()))
    print_text("\n" + explain(finished.result, stdout_width()))
