"""`frostline strategies`: the names that `--strategies` takes."""

from __future__ import annotations

from frostline.cli import options as o
from frostline.cli.screen import print_json, print_table


def strategies_verb(json: o.JsonOption = False) -> None:
    """List the strategies: what happens to the weights, and what people call it."""
    from frostline.recipe.catalogue import CATALOGUE

    rows = [{"name": s.name, "happens": s.happens, "called": s.called} for s in CATALOGUE.values()]
    if json:
        print_json(rows)
        return
    header = ("name", "what happens to the weights", "what people call it")
    print_table(header, [(r["name"], r["happens"], r["called"]) for r in rows])
