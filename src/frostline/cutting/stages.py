"""The stage map of any network: its stages in order, a verified cut after each, and which stage reads which weights."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from torch import nn

from frostline.base.errors import ModelError, nearest
from frostline.base.records import StageInfo
from frostline.cutting.cuts import Cut, find_cuts
from frostline.cutting.ends import End, find_ends
from frostline.cutting.guard import one_thread
from frostline.cutting.heads import HeadSite, find_end, find_head
from frostline.cutting.inputs import Call, CallForm
from frostline.cutting.named import NamedStage, users_module_name
from frostline.cutting.recorder import Recording, record
from frostline.cutting.skeleton import SkeletonStore
from frostline.cutting.split import Split
from frostline.cutting.verify import Verified, verify_cuts

FP32_BYTES = 4
CUT_HINT = "See the stage map: frostline stages SPEC."


@dataclass(frozen=True, kw_only=True)  # without slots: cached properties need a place
class StageMap:
    """Stages 1..S, the cut after each, and where every parameter, buffer and module belongs.

    Numbers in the mappings are stages, S + 1 is the head, 0 is never read (never called) in inference. `*_stages` has
    all stages in which something is read (called), `*_stage` the first.
    """

    stages: tuple[StageInfo, ...]
    cuts: tuple[Cut | None, ...]  # cuts[i] is at the end of stage i + 1
    head: HeadSite
    parameter_stages: Mapping[str, tuple[int, ...]]
    buffer_stages: Mapping[str, tuple[int, ...]]
    module_stages: Mapping[str, tuple[int, ...]]  # modules that ran, containers too; from first to last stage
    repeated: frozenset[str]  # modules called more than once
    form: CallForm  # how the network is called
    skeletons: SkeletonStore
    stays_in_inference: frozenset[int] = frozenset()  # stages K: with ..K frozen, modules around the cut stay in it

    def __len__(self) -> int:
        return len(self.stages)

    def __getitem__(self, stage: int) -> StageInfo:
        """Return the stage of that number, counted from 1 at the input."""
        if not 1 <= stage <= len(self.stages):
            raise IndexError(f"stage {stage} of {len(self.stages)}")
        return self.stages[stage - 1]

    def cut(self, stage: int) -> Cut | None:
        """Return the cut at the end of a stage (from 1), where there is one."""
        if not 1 <= stage <= len(self.cuts):
            raise IndexError(f"stage {stage} of {len(self.cuts)}")
        return self.cuts[stage - 1]

    @cached_property
    def parameter_stage(self) -> Mapping[str, int]:
        return {name: _first(stages) for name, stages in self.parameter_stages.items()}

    @cached_property
    def buffer_stage(self) -> Mapping[str, int]:
        return {name: _first(stages) for name, stages in self.buffer_stages.items()}

    @cached_property
    def straddling(self) -> Mapping[int, tuple[str, ...]]:
        """Stage K -> parameters read on both sides of the cut after it; they must stay frozen for that cut."""
        cuts = {stage: cut for stage, cut in enumerate(self.cuts, 1) if cut is not None}
        return {stage: cut.straddling for stage, cut in cuts.items() if cut.straddling}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the first input, without the batch axis."""
        return self.form.inputs[0].shape[1:]

    @property
    def operations(self) -> float:
        """Floating-point operations of one sample's forward pass up to the head."""
        return sum(stage.operations for stage in self.stages)

    def cut_after(self, stage: int) -> Cut:
        """Return the cut at the end of a stage (from 1); raises ModelError where there is none."""
        cut = self.cut(stage)
        if cut is None:
            info = self[stage]
            raise ModelError(f"The network can't be cut after stage {stage} ({info.name}): {info.why_not}.", CUT_HINT)
        return cut

    def split(self, model: nn.Module, stage: int) -> Split:
        """Cut `model`, a network built like the mapped one, after a stage; the map's skeletons are shared."""
        return Split(model, self.cut_after(stage), form=self.form, skeletons=self.skeletons)


def _first(stages: tuple[int, ...]) -> int:
    if not stages:
        return 0
    return stages[0]


def stage_map(
    model: nn.Module,
    *example_inputs: Any,
    keywords: Mapping[str, Any] | None = None,
    call: Call | None = None,
    named: Sequence[NamedStage] = (),
    verify: Iterable[int] | Literal["all"] = (),
    headless: bool = False,
) -> StageMap:
    """Run the network once in inference mode and map it. Its arguments hold 2 samples or more along the first axis.

    Args:
        model: any module with a linear head.
        example_inputs: its positional arguments; `keywords`: its keyword arguments; or `call`: all of them.
        named: stages by hand, instead of those that the module tree suggests.
        verify: stages whose cuts are to be proven.
        headless: also map a network whose head can't be replaced.

    The cuts after the stages that `verify` names are proven (see :mod:`verify`); one that fails is withdrawn with the
    reason. The module is left as it was. Raises ModelError where no head or no stage is found.
    """
    call = call or Call.of(example_inputs, keywords)
    recording = record(model, call)
    head = find_end(recording) if headless else find_head(recording)
    ends = find_ends(recording, find_cuts(recording), head, named)
    mapped = _assemble(recording, head, ends, CallForm.of(call))
    if verify == "all":
        verify = range(1, len(ends) + 1)
    candidates = {stage: mapped.cut(stage) for stage in verify}
    cuts = {stage: cut for stage, cut in candidates.items() if cut is not None}
    return _proven(mapped, verify_cuts(model, cuts, call, skeletons=mapped.skeletons))


def _assemble(recording: Recording, head: HeadSite, ends: Sequence[End], form: CallForm) -> StageMap:
    clocks = [end.clock for end in ends]

    def stages_of(reads: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(sorted({1 + bisect_left(clocks, t) for t in times})) for name, times in reads.items()}

    modules = _stages_of_calls(recording, [end.index for end in ends])
    parameters = stages_of(recording.reads(recording.parameter_names))
    buffers = stages_of(recording.reads(recording.buffer_names))
    for name, readers in buffers.items():  # counters aren't read in inference: they go with the module that owns them
        buffers[name] = readers or modules.get(name.rpartition(".")[0], ())
    return StageMap(
        stages=tuple(_stage_infos(recording, ends, parameters)),
        cuts=tuple(end.cut for end in ends),
        head=head,
        parameter_stages=parameters,
        buffer_stages=buffers,
        module_stages=modules,
        repeated=frozenset(name for name, count in recording.calls.items() if count > 1),
        form=form,
        skeletons=SkeletonStore(),
    )


def _stages_of_calls(recording: Recording, ends: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """Return the stages that each module's calls lie in; a container's from its entry to its exit."""
    numbers: dict[str, set[int]] = {}
    open_calls: list[int] = []
    for boundary in recording.boundaries:
        # A boundary with an end's own number: entering is already the next stage, leaving is still this one.
        if boundary.where == "in":
            open_calls.append(1 + bisect_right(ends, boundary.index))
        else:
            last = 1 + bisect_left(ends, boundary.index)
            numbers.setdefault(boundary.module, set()).update(range(open_calls.pop(), last + 1))
    return {name: tuple(sorted(stages)) for name, stages in numbers.items()}


def _stage_infos(
    recording: Recording, ends: Sequence[End], parameters: Mapping[str, tuple[int, ...]]
) -> Iterable[StageInfo]:
    sizes = {name: recording.tensors[key].tensor.numel() for key, name in recording.parameter_names.items()}
    begin = 0
    for index, end in enumerate(ends, 1):
        work = sum(count for clock, count in recording.operations if begin < clock <= end.clock)
        begin = end.clock
        yield StageInfo(
            index=index,
            name=_printed_name(users_module_name(recording.model, end.name)),
            parameters=sum(sizes[name] for name, stages in parameters.items() if _first(stages) == index),
            output_shape=end.shape[1:],
            stored_bytes=FP32_BYTES * math.prod(end.shape) // recording.batch,
            operations=work / recording.batch,
            cuttable=end.cut is not None,
            why_not=end.why_not,
            cut=None if end.cut is None else end.cut.name,
            extra={key: value for key, value in _extra(recording, end).items() if value},
        )


def _printed_name(module: str) -> str:
    """Return a name that can't be taken for a stage's number, as those of nn.Sequential would be."""
    if module.isdecimal():
        return f"layer{module}"
    return module


def _extra(recording: Recording, end: End) -> dict[str, Any]:
    """Return the details of a stage's end: of a cut, what it asks for; otherwise, why each boundary is no cut."""
    cut = end.cut
    if cut is None:
        return {"boundaries": list(end.boundaries)}
    return {
        "straddling": list(cut.straddling),
        "needs": [recording.input_names[i] for i in cut.needs],
        "pooling": _pooling_words(recording, cut),
    }


def _pooling_words(recording: Recording, cut: Cut) -> str:
    if cut.pooling == "none":
        return ""
    if cut.mask is None:
        return cut.pooling
    return f"{cut.pooling} where {recording.input_names[cut.mask]} is 1"


def _withdraw(mapped: StageMap, failed: Mapping[int, str]) -> StageMap:
    """Return the map without the cuts whose proof failed; `failed` has the reason by stage."""
    infos = list(mapped.stages)
    cuts = list(mapped.cuts)
    for stage, reason in failed.items():
        infos[stage - 1] = replace(infos[stage - 1], cuttable=False, why_not=reason, cut=None)
        cuts[stage - 1] = None
    return replace(mapped, stages=tuple(infos), cuts=tuple(cuts))


def _proven(mapped: StageMap, verified: Verified) -> StageMap:
    stays = mapped.stays_in_inference | verified.stays_in_inference
    return _withdraw(replace(mapped, stays_in_inference=stays), verified.failed)


def stages(model: nn.Module, *example_inputs: Any, **keywords: Any) -> tuple[StageInfo, ...]:
    """Return the network's stages from input to head, each with its verified cut or the reason why there is none.

    The network is called with these arguments. Raises ModelError where there is nothing before its last layer.
    """
    with one_thread():
        return stage_map(model, *example_inputs, keywords=keywords, verify="all", headless=True).stages


def split(model: nn.Module, *example_inputs: Any, at: int | str, **keywords: Any) -> Split:
    """Cut the network after stage `at` (a name, or a number from 1; a name wins): see :class:`Split`.

    Raises ModelError for a stage that doesn't exist or can't be cut.
    """
    with one_thread():
        mapped = stage_map(model, *example_inputs, keywords=keywords, headless=True)
        stage = _stage_number(mapped, at)
        cuts = {stage: mapped.cut_after(stage)}
        verified = verify_cuts(model, cuts, Call.of(example_inputs, keywords), skeletons=mapped.skeletons)
    return _proven(mapped, verified).split(model, stage)


def _stage_number(mapped: StageMap, at: int | str) -> int:
    numbers = {stage.name: stage.index for stage in mapped.stages}
    if str(at) in numbers:
        return numbers[str(at)]
    if str(at).isdecimal() and 1 <= int(at) <= len(mapped.stages):
        return int(at)
    raise ModelError(f"The network has no stage {at!r}, only 1 to {len(numbers)}.", nearest(str(at), numbers))
