"""`frostline demo`: every strategy on real handwriting, with the network that is bundled with the package."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import parse_names
from frostline.cli.screen import print_text, stdout_width

DemoLabelsOption = Annotated[int, o.value_option(o.DATA_PANEL, "--labels-per-class", "Labels per digit.", "N")]
DemoStrategiesOption = Annotated[
    str | None,
    o.value_option(o.COMPARISON_PANEL, "--strategies", "Comma-separated names. Default: the demo's own list.", "a,b,c"),
]
DemoEpochsOption = Annotated[
    int | None, o.value_option(o.TRAINING_PANEL, "--epochs", "Passes over the labels. Default: the demo's own.", "N")
]
DemoOutOption = Annotated[
    str | None, o.value_option(o.OUTPUT_PANEL, "--out", "RUN folder to write. Default: runs/demo-N.", "RUN")
]
DemoThreadsOption = Annotated[
    int | None,
    o.value_option(o.OUTPUT_PANEL, "--threads", "CPU threads. Default: 1, since the images are small.", "N"),
]


def demo_verb(
    ctx: typer.Context,
    labels_per_class: DemoLabelsOption = 5,
    seed: o.SeedOption = 0,
    strategies: DemoStrategiesOption = None,
    epochs: DemoEpochsOption = None,
    out: DemoOutOption = None,
    threads: DemoThreadsOption = None,
    store: o.StoreOption = None,
    track: o.TrackOption = None,
    resume: o.ResumeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Transfer a network that knows printed letters to handwritten digits, 5 labels each; works offline."""
    from frostline.base.device import prepare_process
    from frostline.tracking import both, listener

    tracker = listener(track)
    prepare_process(threads)
    from frostline.demo import demo, explain

    options = {
        "strategies": parse_names(strategies) if strategies else None,
        "epochs": epochs,
        "threads": threads,
        "store": store,
        "resume": resume or None,
    }
    changed: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    with drawing(plain=plain, json_lines=json, session=ctx.obj) as screen:
        emit = both(screen.emit, tracker)
        finished = demo(labels_per_class=labels_per_class, seed=seed, out=out, emit=emit, **changed)
        result = finished.result.model_dump(mode="json", by_alias=True)
        screen.result(result, run=finished.path)
    if json:
        return
    from frostline.report.tables import result_text

    print_text(result_text(result, stdout_width()))
    print_text("\n" + explain(finished.result, stdout_width()))
