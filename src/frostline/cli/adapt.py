"""`frostline adapt`: fit a run's network to data of another distribution, and choose how without target labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from frostline.cli import options as o
from frostline.cli.draw import drawing
from frostline.cli.parse import parse_names
from frostline.cli.screen import print_json, print_text, stdout_width
from frostline.recipe.settings import Settings

TargetArgument = Annotated[
    Path,
    typer.Argument(
        metavar="TARGET", help="Images or texts of another distribution, labelled or not: a folder, a table or a file."
    ),
]
RunModelOption = Annotated[
    str, o.value_option(o.NETWORK_PANEL, "--model", "The run whose network is adapted: run:RUN.", "run:RUN")
]
RunDataOption = Annotated[
    Path | None,
    o.value_option(
        o.DATA_PANEL, "--source", "Where the run's own data are now. Default: where the run's record says.", "DIR"
    ),
]
TargetLabelsOption = Annotated[
    str | None,
    o.value_option(
        o.DATA_PANEL,
        "--target-labels",
        "What target labels are for: none; few: they decide; sealed: opened once, after the choice. Default: sealed "
        "where TARGET names the run's classes, else none.",
        "none|few|sealed",
    ),
]
ArmsOption = Annotated[
    str,
    o.value_option(
        o.COMPARISON_PANEL, "--strategies", "Comma-separated arms, or auto: those that fit the kind of shift.", "a,b"
    ),
]


def adapt_verb(
    ctx: typer.Context,
    target: TargetArgument,
    model: RunModelOption,
    source: RunDataOption = None,
    target_labels: TargetLabelsOption = None,
    strategies: ArmsOption = "auto",
    seed: o.SeedOption = 0,
    out: o.OutOption = None,
    device: o.DeviceOption = "auto",
    threads: o.ThreadsOption = None,
    trust_code: o.TrustCodeOption = False,
    resume: o.ResumeOption = False,
    plain: o.PlainOption = False,
    json: o.JsonOption = False,
) -> None:
    """Adapt a run's network to TARGET, data of another distribution, without labels of it."""
    common = Settings(
        data=target,
        model=model,
        seed=seed,
        out=out,
        device=device,
        threads=threads,
        trust_code=trust_code,
        resume=resume,
    )
    from frostline.base.device import prepare_process

    prepare_process(threads)
    from frostline.adaptation import AdaptSettings, run_adaptation

    settings = AdaptSettings(common=common, target_labels=target_labels, arms=parse_names(strategies), source=source)
    with drawing(plain=plain or json, json_lines=False, session=ctx.obj) as screen:
        finished = run_adaptation(settings, screen.emit)
    result = finished.result.model_dump(mode="json", by_alias=True)
    if json:
        print_json(result)
        return
    from frostline.report.adapt import adapt_text

    print_text(adapt_text(result, finished.path, stdout_width()))
