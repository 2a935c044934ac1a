"""Features of a fixed list of samples: their views and, per cut of the frozen network, their activations.

One forward pass over (sample, view) fills the taps of all the cuts that a study wants. A rule on counted bytes decides
which raw activations are stored; the others are recomputed in each step, with the same bits. Every pass runs in
chunks of one fixed size (a partial chunk is padded by repeating its last sample), because some kernels are chosen by
batch size: so a sample's activation is the same whoever came with it. Texts run in groups of one length; their raw
activations are stored by group, so that no padding is stored.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from frostline.base import version
from frostline.base.device import Compute
from frostline.base.events import Event, tell
from frostline.base.hashing import hash_values
from frostline.base.memory import large_array
from frostline.cutting.cuts import read_features
from frostline.cutting.stages import StageMap
from frostline.data.contract import (
    to_inputs,
    view_bytes,
)
from frostline.data.texts import TextPreprocess
from frostline.features.inference import Group, Tap, grouped, in_order, tapped_chunks
from frostline.features.source import ViewSource
from frostline.features.store import Array, Store, StoreError

VIEW_CHUNK = 1024  # images of a view that are held in memory at a time
RAW_VIEWS = 4  # an activation larger than this many uint8 views of its image is recomputed rather than stored
RAW_CAP = 4 << 30  # bytes of raw activations that one study may store
KEPT_SHARE = 4  # of the memory, which features may take that no store keeps

Sink = Callable[[Tensor], None]


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """The pre-trained network in inference mode, as it is computed: what activations are a function of."""

    model: nn.Module
    stages: StageMap
    fingerprint: str
    compute: Compute
    hashes: Mapping[str, str]  # of every tensor, before anything was computed with it

    def key(self, stage: int) -> str:
        c = self.compute
        on_gpu = c.device.startswith("cuda") and torch.cuda.is_available()
        if on_gpu:
            chip = torch.cuda.get_device_name(c.device)
        else:
            chip = torch.backends.cpu.get_cpu_capability()
        build = (version.VERSION, torch.__version__, chip)
        how = (c.device, c.precision, c.channels_last, c.chunk)
        return hash_values(self.fingerprint, self.stages[stage].cut, stage, build, how)


@dataclass
class Features:
    """Lives as long as a study. `raw` and `pooled` name the stages whose activations are wanted; views fill lazily."""

    source: ViewSource
    trunk: Trunk
    store: Store | None
    raw: frozenset[int] = frozenset()
    pooled_stages: frozenset[int] = frozenset()
    pooled_views: frozenset[int] = frozenset()
    plain_stages: frozenset[int] = frozenset()  # whose pooled activations are wanted in view 0 alone
    memory: int | None = None  # bytes that this process may hold; None: as many as it gets
    view_seconds: float = 0.0
    prefix_seconds: float = 0.0
    prefix_images: int = 0
    _full: bool = False  # nothing more can be stored; what is there is read
    _memory: dict[str, Array] = field(default_factory=dict)
    _resident: dict[str, Array] = field(default_factory=dict)
    _keys: dict[tuple[str, int, int, int], str] = field(default_factory=dict)

    def want(self, *, raw: Sequence[int], pooled: Sequence[int], views: int, pooled_views: Sequence[int]) -> None:
        """Say what will be asked for: raw activations after these stages in `views` views, pooled ones in these views.

        Raw stages that break the byte rule (without a store: all) aren't kept but recomputed in each step.
        """
        self.pooled_stages = frozenset(pooled)
        self.pooled_views = frozenset(pooled_views)
        if self.store is not None and not self._full:
            most = min(RAW_CAP, self.store.cap // 2)
            self.raw = frozenset(self._storable(raw, views, most))
        else:
            self.raw = frozenset()

    def _storable(self, stages: Sequence[int], views: int, cap: int) -> list[int]:
        most = RAW_VIEWS * view_bytes(self.source.preprocess)
        width = 4
        if self.trunk.compute.precision == "bf16":
            width = 2
        chosen = []
        total = 0.0
        for stage in sorted(set(stages), reverse=True):
            one = self.trunk.stages[stage].stored_bytes // 4 * width
            size = self._mean_bytes(stage, one) * len(self.source) * (views + 1)
            if one <= most and total + size <= cap:
                chosen.append(stage)
                total += size
        return chosen

    def _mean_bytes(self, stage: int, longest: float) -> float:
        """Bytes of a sample's activation on average, from those at the longest length."""
        contract = self.source.preprocess
        shape = self.trunk.stages[stage].output_shape
        if isinstance(contract, TextPreprocess) and len(shape) > 1 and contract.length in shape:  # it has tokens
            return longest * self.source.share
        return longest

    def prepare(self, view: int) -> None:
        """Compute all that is wanted of one view, so that trials find it."""
        self._view(view)
        self._fill(view)

    def stored(self, stage: int) -> bool:
        return stage in self.raw

    def groups(self, rows: Tensor) -> list[Group]:
        """The groups of these rows (N,) that may run in one batch: a single one of images, one per length of texts."""
        lengths = self.source.lengths
        if lengths is not None:
            lengths = lengths[rows.numpy()]
        return grouped(lengths, self.trunk.compute)

    def images(self, rows: Tensor, view: int) -> Tensor:
        """uint8 (N,C,H,W) of these rows in a view, or int32 (N,L)."""
        stored = self._view(view)
        if stored is None:
            return self.source.make(view, rows.numpy())
        return stored.rows(rows)

    def inputs(self, rows: Tensor, view: int) -> Tensor | dict[str, Tensor]:
        """The network's inputs for these rows of one group, on the device."""
        images = self.images(rows, view)
        compute = self.trunk.compute
        return to_inputs(images, self.source.preprocess, device=compute.device, channels_last=compute.channels_last)

    def activations(self, stage: int, rows: Tensor, view: int) -> Tensor:
        """Stored activation after `stage` for these rows of one group, on the device, in its original memory format.

        Raises StoreError where it can't be stored any more.
        """
        length = 0
        if self.source.lengths is not None:
            length = int(self.source.lengths[rows[0]])
            rows = self._places[rows]
        array = self._tapped("raw", stage, view, length)
        return array.rows(rows.to(array.physical.device)).to(self.trunk.compute.device)

    @cached_property
    def _places(self) -> Tensor:
        """Place of each sample (N,) among those of its group."""
        places = torch.zeros(len(self.source), dtype=torch.int64)
        for group in self.groups(torch.arange(len(self.source))):
            members = places[group.places]
            places[group.places] = torch.arange(len(members))
        return places

    def pooled(self, stage: int, view: int) -> Tensor:
        """float32 (N, D): the pooled activation after `stage` of all samples."""
        return self._tapped("pooled", stage, view).physical

    def kept(self, key: str, make: Callable[[], Iterable[Tensor]]) -> Tensor:
        """Rows of all samples under a key of the caller's own: found, or made (in order, part by part) and kept."""
        found = self._find(key)
        if found is None:
            self._save(key, "forecasts", make)
            found = self._find(key)
            assert found is not None
        return found.physical

    def plain(self, stage: int) -> Tensor:
        """float32 (N, D): the pooled activation after `stage` of all samples in view 0, asked for here and now."""
        self.plain_stages |= {stage}
        return self._tapped("pooled", stage, 0).physical

    def _tapped(self, kind: str, stage: int, view: int, length: int = 0) -> Array:
        key = self._key(kind, stage, view, length)
        found = self._resident.get(key) or self._find(key)
        if found is None:
            self._fill(view)
            found = self._find(key)
        if found is None and self._full:
            raise StoreError(f"stage {stage} can't be stored any more")
        if found is None:
            raise KeyError(f"stage {stage} was not asked for as {kind}")
        if kind == "raw":
            return self._keep_on_device(key, found)
        return found

    def _find(self, key: str) -> Array | None:
        return self._memory.get(key) or (self.store.get(key) if self.store else None)

    def _keep_on_device(self, key: str, array: Array) -> Array:
        """On a GPU a stored array lives on the device while a third of its memory stays free for training."""
        device = self.trunk.compute.device
        if not device.startswith("cuda") or key in self._resident:
            return array
        free, total = torch.cuda.mem_get_info(device)
        if free - array.physical.nbytes < total / 3:
            return array
        self._resident[key] = Array(array.physical.to(device), array.order)
        return self._resident[key]

    def _key(self, kind: str, stage: int, view: int, length: int = 0) -> str:
        """Stage 0 stands for the view itself. Kept, since every batch asks and the key hashes all samples."""
        wanted = (kind, stage, view, length)
        if wanted not in self._keys:
            source = self.source.key(view)
            if length:
                self._keys[wanted] = hash_values(kind, source, self.trunk.key(stage), length)
            elif stage:
                self._keys[wanted] = hash_values(kind, source, self.trunk.key(stage))
            else:
                self._keys[wanted] = source
        return self._keys[wanted]

    def _has_room(self, size: float) -> bool:
        """True where so many bytes more go into the store."""
        return self.store is not None and not self._full and self.store.has_room(size)

    def _view(self, view: int) -> Array | None:
        """The stored view, made where it isn't there yet; None where views aren't stored, or would break its cap."""
        key = self._key("view", 0, view)
        found = self._find(key)
        if found is None and self._has_room(len(self.source) * view_bytes(self.source.preprocess)):
            started = time.perf_counter()
            chunks = torch.split(torch.arange(len(self.source)), VIEW_CHUNK)
            self._put(key, "views", lambda: (self.source.make(view, rows.numpy()) for rows in chunks))
            self.view_seconds += time.perf_counter() - started
            found = self._find(key)
        return found

    def _put(self, key: str, kind: str, make: Callable[[], Iterable[Tensor]]) -> bool:
        """Store an entry; False where that can't be."""
        if self.store is None or self._full:
            return False
        try:
            with self.store.writer(key, kind) as append:
                for part in make():
                    append(part)
        except StoreError as error:
            self._do_without(error)
            return False
        return True

    def _save(self, key: str, kind: str, make: Callable[[], Iterable[Tensor]]) -> None:
        """Store an entry, or keep it in memory."""
        if not self._put(key, kind, make):
            whole = self._gathered(make())
            self._memory[key] = Array(whole, tuple(range(whole.dim())))

    def _gathered(self, parts: Iterable[Tensor]) -> Tensor:
        """Lay the rows of the samples (all, or the first ones), which come part by part, one under the other."""
        found = iter(parts)
        first = next(found)
        room = None
        if self.memory is not None:
            room = self.memory // KEPT_SHARE - sum(array.physical.nbytes for array in self._memory.values())
        row = first[0]
        pages = large_array((len(self.source), row.nbytes), "uint8", room)
        whole = torch.from_numpy(pages).view(-1).view(first.dtype).view(len(self.source), *row.shape)
        place = 0
        for part in itertools.chain([first], found):
            whole[place : place + len(part)] = part
            place += len(part)
        return whole[:place]

    def _do_without(self, error: StoreError) -> None:
        """Go on as without a store, from which bits don't differ."""
        self._full = True
        self.raw = frozenset()
        if self.store is not None and not self.store.was_told:
            self.store.was_told = True
            tell(Event(kind="warning", text=error.sentence()))

    def _fill(self, view: int) -> None:
        """One pass over all samples in this view; every wanted tap that isn't there yet is written."""
        groups = self.groups(torch.arange(len(self.source)))
        if not any(self._missing(view, groups)):
            return
        self._view(view)  # the store may turn out to be full here, and then less is wanted
        raw, pooled = self._missing(view, groups)
        started = time.perf_counter()
        try:
            with contextlib.ExitStack() as stack:
                sinks = {("pooled", stage): self._pooled_sink(stack, stage, view, groups) for stage in pooled}
                for group in groups:
                    self._pass(group, view, raw, sinks)
        except StoreError as error:
            self._do_without(error)
            self._fill(view)
            return
        self.prefix_seconds += time.perf_counter() - started
        self.prefix_images += len(self.source)

    def _missing(self, view: int, groups: Sequence[Group]) -> tuple[list[int], list[int]]:
        """Stages whose raw, and whose pooled, activations are wanted in this view but aren't there."""
        pooled = self.pooled_stages if view in self.pooled_views else frozenset()
        if view == 0:
            pooled |= self.plain_stages
        keys = {s: [self._key("raw", s, view, group.length) for group in groups] for s in sorted(self.raw)}
        raw = [s for s, wanted in keys.items() if any(self._find(key) is None for key in wanted)]
        return raw, [s for s in sorted(pooled) if self._find(self._key("pooled", s, view)) is None]

    def _pass(self, group: Group, view: int, raw: Sequence[int], pooled: Mapping[tuple[str, int], Sink]) -> None:
        """Run the samples of one group through the network; raw activations are kept by group."""
        rows = torch.arange(len(self.source))[group.places]
        stages = sorted({*raw, *(stage for _, stage in pooled)})
        cuts = [self.trunk.stages.cut_after(stage) for stage in stages]
        tap = Tap(self.trunk.model, cuts, partial(self.inputs, view=view), self.trunk.compute)
        with contextlib.ExitStack() as stack:
            sinks = dict(pooled)
            for stage in raw:
                assert self.store is not None
                sinks["raw", stage] = stack.enter_context(
                    self.store.writer(self._key("raw", stage, view, group.length), "activations")
                )
            for tapped in tapped_chunks(tap, rows, group.chunk):
                outputs = dict(zip(stages, tapped.activations, strict=True))
                for (kind, stage), sink in sinks.items():
                    sink(self._kept(kind, stage, outputs[stage], tapped.call.tensors)[: tapped.count])

    def _pooled_sink(self, stack: contextlib.ExitStack, stage: int, view: int, groups: Sequence[Group]) -> Sink:
        """Take pooled features chunk by chunk; they are kept as one array in the order of the samples."""
        key = self._key("pooled", stage, view)
        if self.store is not None and not self._full and len(groups) == 1:
            return stack.enter_context(self.store.writer(key, "activations"))
        parts: list[Tensor] = []

        def keep(kind: object, *_: object) -> None:
            if kind is None:  # no error
                self._save(key, "activations", lambda: [in_order(parts, groups)])

        stack.push(keep)
        return parts.append

    def _kept(self, kind: str, stage: int, activation: Tensor, raw: Sequence[Tensor]) -> Tensor:
        """What is stored of an activation: all of it, or the pooled features."""
        if kind == "raw":
            return activation.cpu()
        return read_features(self.trunk.stages.cut_after(stage), activation, raw).cpu()
