"""Examine one network: its stage map, and each offered cut, checked apart from frostline's own proof."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError
from frostline.cutting.guard import copy_buffers, exact, forked_seed, may_have_gradients, restore
from frostline.cutting.inputs import Call
from frostline.cutting.outputs import logits, tensors_of
from frostline.cutting.split import Split, run_to
from frostline.cutting.stages import StageMap, stage_map
from frostline.cutting.verify import whole_run
from frostline.models.trainable import set_training
from frostline.recipe.recipe import Part

FROZEN = Part(trained=False)
TRAINED = Part(trained=True, batchnorm="all")
NAN = float("nan")
PROOF_WORDS = ("prefix and suffix", "in training mode", "by itself", "doesn't grow")  # of reasons that a proof gives


@dataclass(frozen=True, kw_only=True)
class Row:
    """Results for one network."""

    modules: int
    stages: int
    offered: int
    exact: int
    reasons: tuple[str, ...]  # one per stage that isn't offered
    wrong: tuple[str, ...]  # cuts that are offered but not exact
    withdrawn: int  # of those not offered: clean by the record, but frostline's own proof failed
    head: str
    seconds: float


def examine(model: nn.Module, args: Sequence[Any], keywords: Mapping[str, Any], *, other: Call | None = None) -> Row:
    """Map a network and check its cuts on `other` inputs (by default drawn again, one more than in the example)."""
    begun = time.process_time()
    mapped = stage_map(model, *args, keywords=keywords, verify="all", headless=True)
    seconds = time.process_time() - begun
    call = other or renewed(Call.of(args, keywords))
    wrong = wrong_cuts(model, mapped, call)
    offered = [stage for stage in mapped.stages if stage.cuttable]
    refused = [stage for stage in mapped.stages if not stage.cuttable]
    return Row(
        modules=len(list(model.modules())),
        stages=len(mapped.stages),
        offered=len(offered),
        exact=len(offered) - len(wrong),
        reasons=tuple(f"{stage.name}: {stage.why_not}" for stage in refused),
        wrong=wrong,
        withdrawn=sum(any(words in str(stage.why_not) for words in PROOF_WORDS) for stage in refused),
        head=mapped.head.path,
        seconds=seconds,
    )


def wrong_cuts(model: nn.Module, mapped: StageMap, call: Call) -> tuple[str, ...]:
    """Return the offered cuts that aren't exact, with the reason; the first, middle and last are trained too."""
    model.eval()
    cuttable = [stage for stage in mapped.stages if stage.cuttable]
    trained = [cuttable[0], cuttable[len(cuttable) // 2], cuttable[-1]] if cuttable else []
    wrong = []
    with exact():
        for stage in cuttable:
            reason = problem(model, mapped, stage.index, call)
            if not reason and stage in trained:
                reason = problem_in_training(model, mapped, stage.index, call)
            if reason:
                wrong.append(f"{stage.name}: {reason}")
    return tuple(wrong)


def renewed(call: Call) -> Call:
    """Return other samples, one more than in `call`: floating-point ones drawn again, others in reverse order."""
    generator = torch.Generator().manual_seed(11)

    def new(x: Tensor) -> Tensor:
        if not x.ndim or x.shape[0] != call.batch:
            return x
        if x.is_floating_point():
            return torch.randn((call.batch + 1, *x.shape[1:]), generator=generator).to(x.dtype)
        return torch.cat([x.flip(0), x[:1]])

    return call.with_tensors([new(x) for x in call.tensors])


def problem(model: nn.Module, mapped: StageMap, stage: int, call: Call) -> str:
    """Say what is wrong with the cut after a stage; empty where it is exact."""
    cut = mapped.cut_after(stage)
    split = Split(model, cut, form=mapped.form)
    empty = call.with_tensors([x if i in cut.needs else torch.zeros_like(x) for i, x in enumerate(call.tensors)])
    with torch.no_grad():
        whole = list(tensors_of(call.run(model)))
        activation = taken(split, call)
        if not same(whole, list(tensors_of(split.rest(activation, empty)))):
            return "outputs differ"
        if not cut.needs and not same(whole, list(tensors_of(split.suffix(activation)))):
            return "outputs differ without the inputs"
        poisoned = tensors_of(split.rest(activation * NAN, empty))
        if not any(torch.isnan(x).any() for x in poisoned):
            return "the output doesn't come from the activation"
    return ""


def problem_in_training(model: nn.Module, mapped: StageMap, stage: int, call: Call) -> str:
    """Say what is wrong while the stages after the cut are trained, as frostline trains them."""
    cut = mapped.cut_after(stage)
    split = Split(model, cut, form=mapped.form)
    empty = call.with_tensors([x if i in cut.needs else torch.zeros_like(x) for i, x in enumerate(call.tensors)])
    with torch.no_grad(), may_have_gradients(model):
        activation = taken(split, call)
    set_training(model, mapped, [FROZEN] * stage + [TRAINED] * (len(mapped.stages) - stage), TRAINED)
    try:
        whole = step(model, lambda: whole_run(model, cut, call))
        parts = step(model, lambda: split.rest(activation, empty))
    finally:
        model.eval().requires_grad_(True)
    return next((f"in training, {kind} differ" for kind in whole if not same(whole[kind], parts[kind])), "")


def taken(split: Split, call: Call) -> Tensor:
    """Return the activation of these inputs."""
    return run_to(split.model, [split.cut], call)[0].clone(memory_format=torch.preserve_format)


def step(model: nn.Module, forward: Any) -> dict[str, list[Tensor]]:
    """Return outputs, gradients and buffers of one pass under a fixed seed; buffers are put back."""
    buffers = copy_buffers(model)
    model.zero_grad(set_to_none=True)
    with forked_seed(5), torch.enable_grad():
        scores = trained_on(forward())
        loss = sum((x.float().square().sum() + x.float().sum() for x in scores), torch.zeros(()))
        if loss.requires_grad:  # nothing does where the head's weights are tied to what is frozen
            loss.backward()
    gradients = [p.grad.clone() if p.grad is not None else torch.tensor(NAN) for p in model.parameters()]
    values = [b.detach().clone() for b in model.buffers()]
    model.zero_grad(set_to_none=True)
    restore(buffers)
    return {"outputs": [x.detach() for x in scores], "gradients": gradients, "buffers": values}


def trained_on(output: Any) -> list[Tensor]:
    """Return the class scores, or all outputs where the scores can't be told from auxiliary ones."""
    try:
        return [logits(output)]
    except ModelError:
        return list(tensors_of(output))


def same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """True where all are equal bit for bit; NaN counts as equal to NaN (a gradient that isn't there)."""
    return len(first) == len(second) and all(map(same_tensor, first, second))


def same_tensor(a: Tensor, b: Tensor) -> bool:
    """True where two tensors are equal bit for bit, with NaN at the same places."""
    if torch.equal(a, b):
        return True
    return a.shape == b.shape and torch.equal(a.isnan(), b.isnan()) and torch.equal(a.nan_to_num(), b.nan_to_num())
