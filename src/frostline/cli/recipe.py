"""`frostline recipe show`: a strategy as a recipe file, to be edited and run with `--strategies FILE.json`."""

from __future__ import annotations

from typing import Annotated

import typer

from frostline.base.errors import RecipeError, nearest
from frostline.cli.screen import print_text

ACTIONS = ("show",)
StageCountOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Number of stages of your network; gradual's phases depend on it."),
]


def recipe_verb(
    action: Annotated[str, typer.Argument(metavar="show", help="Action: show prints the recipe of a strategy.")],
    strategy: Annotated[
        str, typer.Argument(metavar="STRATEGY", help="Name of a strategy, such as finetune or freeze@4.")
    ],
    stages: StageCountOption = None,
) -> None:
    """Print a strategy as a JSON recipe: edit it, then run it with --strategies FILE.json."""
    if action not in ACTIONS:
        raise RecipeError(f"frostline recipe has no action {action!r}.", nearest(action, ACTIONS))
    from frostline.recipe.from_file import recipe_as_file

    print_text(recipe_as_file(strategy, stages).model_dump_json(indent=1))
