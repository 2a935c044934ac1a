"""What a forecast is asked in tests: three blocks of a small study, and recipes that can and can't be forecast."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from frostline.base.records import Block
from frostline.forecast.question import Question
from frostline.recipe.selection import make_recipe
from frostline.train.study import Study

NAMES = ("probe", "freeze@2", "finetune", "lp-ft", "scratch")


def question(made: Study, **changed: Any) -> Question:
    rows = made.development
    blocks = [
        Block(index=k, repeat=0, fold=k, train=rows[rows // 2 % 3 != k], validation=rows[rows // 2 % 3 == k])
        for k in range(3)
    ]
    asked = Question(
        dataset=made.dataset,
        features=made.features,
        development=rows,
        blocks=blocks,
        recipes=[make_recipe(name, made.stages.stages) for name in NAMES],
        seed=0,
    )
    return replace(asked, **changed)
