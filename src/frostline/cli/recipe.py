"""`frostline recipe show`: a strategy as a recipe's file, to be changed and run with `--strategies FILE.json`."""

from __future__ import annotations

from typing import Annotated

import typer

from frostline.base.errors import RecipeError, nearest
from frostline.cli.screen import print_text

ACTIONS = ("show",)


def recipe(
    action: Annotated[str, typer.Argument(metavar="show", help="What to do: show prints the recipe of a strategy.")],
    strategy: Annotated[str, typer.Argument(metavar="STRATEGY", help="Its name, such as finetune or freeze@4.")],
    stages: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Stages of your network, which gradual's phases follow from.")
    ] = None,
) -> None:
    """Print a strategy as a JSON recipe: change it, then run it with --strategies FILE.json."""
    if action not in ACTIONS:
        raise RecipeError(f"frostline recipe has no {action!r}.", nearest(action, ACTIONS))
    from frostline.recipe.own import recipe_as_file

    print_text(recipe_as_file(strategy, stages).model_dump_json(indent=1))
