"""Features of a fixed list of samples: their views and, per cut of the frozen network, their activations.

One forward pass over (sample, view) fills the taps of all the cuts that a study wants. A rule on counted bytes decides
which raw activations are stored; the others are recomputed in each step, with the same bits. Every pass runs in
chunks of one fixed size (a partial chunk is padded by repeating its last sample), because some kernels are chosen by
batch size: so a sample's activation is the same whoever came with it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import PIL
import torch
from torch import Tensor, nn

from frostline.base import version
from frostline.base.device import Compute
from frostline.base.hashing import hash_values
from frostline.base.records import IntArray
from frostline.cutting.cuts import read_features
from frostline.cutting.stages import StageMap
from frostline.data.contract import Contract, Samples, ViewOf, to_inputs, view_bytes, view_form, views_of
from frostline.data.views import Policy
from frostline.features.inference import tapped_chunks
from frostline.features.store import Array, Store

VIEW_CHUNK = 1024  # images of a view that are held in memory at a time
RAW_VIEWS = 4  # an activation larger than this many uint8 views of its image is recomputed rather than stored
RAW_CAP = 4 << 30  # bytes of raw activations that one study may store


@dataclass(frozen=True, kw_only=True)
class ViewSource:
    """Images (or texts), and the pure function (seed, sample, view) -> what is stored of a view: a uint8 image of
    the network's input size, or a row of token ids."""

    images: Samples
    samples: Sequence[str]  # content hash of each image
    preprocess: Contract
    policy: Policy
    seed: int
    threads: int

    def __len__(self) -> int:
        return len(self.samples)

    def make(self, view: int, rows: IntArray | None = None) -> Tensor:
        """One view, uint8 (N,C,H,W) or int32 (N,L), for the given rows or all."""
        if rows is None:
            images = self.images
        else:
            images = self.images.select(rows)
        if rows is None:
            samples = self.samples
        else:
            samples = [self.samples[i] for i in rows]
        how = ViewOf(view=view, policy=self.policy, seed=self.seed, threads=self.threads)
        return views_of(images, samples, self.preprocess, how)

    def key(self, view: int) -> str:
        # view 0 is the same for every seed
        seed = 0
        if view:
            seed = self.seed
        policy = ""
        if view:
            policy = repr(self.policy)
        form = view_form(self.preprocess)
        return hash_values("view", version.VERSION, PIL.__version__, list(self.samples), form, policy, seed, view)


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
    view_seconds: float = 0.0
    prefix_seconds: float = 0.0
    prefix_images: int = 0
    _memory: dict[str, Array] = field(default_factory=dict)
    _resident: dict[str, Array] = field(default_factory=dict)
    _keys: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def want(self, *, raw: Sequence[int], pooled: Sequence[int], views: int, pooled_views: Sequence[int]) -> None:
        """Say what will be asked for: raw activations after these stages in `views` views, pooled ones in these views.

        Raw stages that break the byte rule (without a store: all) aren't kept but recomputed in each step.
        """
        self.pooled_stages = frozenset(pooled)
        self.pooled_views = frozenset(pooled_views)
        if self.store:
            self.raw = frozenset(self._storable(raw, views))
        else:
            self.raw = frozenset()

    def _storable(self, stages: Sequence[int], views: int) -> list[int]:
        most = RAW_VIEWS * view_bytes(self.source.preprocess)
        width = 4
        if self.trunk.compute.precision == "bf16":
            width = 2
        chosen = []
        total = 0
        for stage in sorted(set(stages), reverse=True):
            one = self.trunk.stages[stage].stored_bytes // 4 * width
            size = one * len(self.source) * (views + 1)
            if one <= most and total + size <= RAW_CAP:
                chosen.append(stage)
                total += size
        return chosen

    def prepare(self, view: int) -> None:
        """Compute all that is wanted of one view, so that trials find it."""
        if self.store is not None:
            self._view(view)
        self._fill(view)

    def stored(self, stage: int) -> bool:
        return stage in self.raw

    def images(self, rows: Tensor, view: int) -> Tensor:
        """uint8 (N,C,H,W) of these rows in a view, or int32 (N,L)."""
        if self.store:
            return self._view(view).rows(rows)
        return self.source.make(view, rows.numpy())

    def inputs(self, rows: Tensor, view: int) -> Tensor | dict[str, Tensor]:
        """The network's inputs for these rows, on the device."""
        images = self.images(rows, view)
        compute = self.trunk.compute
        return to_inputs(images, self.source.preprocess, device=compute.device, channels_last=compute.channels_last)

    def activations(self, stage: int, rows: Tensor, view: int) -> Tensor:
        """Stored activation after `stage` for these rows, on the device, in its original memory format."""
        array = self._tapped("raw", stage, view)
        return array.rows(rows.to(array.physical.device)).to(self.trunk.compute.device)

    def pooled(self, stage: int, view: int) -> Tensor:
        """float32 (N, D): the pooled activation after `stage` of all samples."""
        return self._tapped("pooled", stage, view).physical

    def kept(self, key: str, make: Callable[[], Iterable[Tensor]]) -> Tensor:
        """Rows of all samples under a key of the caller's own: found, or made (in order, part by part) and kept."""
        found = self._find(key)
        if found is None:
            self._save(key, make())
            found = self._find(key)
            assert found is not None
        return found.physical

    def plain(self, stage: int) -> Tensor:
        """float32 (N, D): the pooled activation after `stage` of all samples in view 0, asked for here and now."""
        self.plain_stages |= {stage}
        return self._tapped("pooled", stage, 0).physical

    def _tapped(self, kind: str, stage: int, view: int) -> Array:
        key = self._key(kind, stage, view)
        found = self._resident.get(key) or self._find(key)
        if found is None:
            self._fill(view)
            found = self._find(key)
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

    def _key(self, kind: str, stage: int, view: int) -> str:
        """Stage 0 stands for the view itself. Kept, since every batch asks and the key hashes all samples."""
        wanted = (kind, stage, view)
        if wanted not in self._keys:
            source = self.source.key(view)
            if stage:
                self._keys[wanted] = hash_values(kind, source, self.trunk.key(stage))
            else:
                self._keys[wanted] = source
        return self._keys[wanted]

    def _view(self, view: int) -> Array:
        key = self._key("view", 0, view)
        found = self._find(key)
        if found is None:
            started = time.perf_counter()
            chunks = torch.split(torch.arange(len(self.source)), VIEW_CHUNK)
            self._save(key, (self.source.make(view, rows.numpy()) for rows in chunks))
            self.view_seconds += time.perf_counter() - started
            found = self._find(key)
            assert found is not None
        return found

    def _save(self, key: str, parts: Iterable[Tensor]) -> None:
        if self.store is None:
            whole = torch.cat(list(parts))
            self._memory[key] = Array(whole, tuple(range(whole.dim())))
            return
        with self.store.writer(key) as append:
            for part in parts:
                append(part)

    def _fill(self, view: int) -> None:
        """One pass over all samples in this view; every wanted tap that isn't there yet is written."""
        wanted = [("raw", s) for s in sorted(self.raw)]
        pooled = self.pooled_stages if view in self.pooled_views else frozenset()
        if view == 0:
            pooled |= self.plain_stages
        wanted += [("pooled", s) for s in sorted(pooled)]
        missing = [(kind, s) for kind, s in wanted if self._find(self._key(kind, s, view)) is None]
        if not missing:
            return
        rows = torch.arange(len(self.source))
        if self.store is not None:
            self._view(view)
        started = time.perf_counter()
        with contextlib.ExitStack() as stack:
            sinks = {item: self._sink(stack, *item, view) for item in missing}
            stages = sorted({stage for _, stage in missing})
            cuts = [self.trunk.stages.cut_after(stage) for stage in stages]
            inputs = partial(self.inputs, view=view)
            for tapped in tapped_chunks(self.trunk.model, cuts, inputs, rows, self.trunk.compute):
                outputs = dict(zip(stages, tapped.activations, strict=True))
                for (kind, stage), sink in sinks.items():
                    sink(self._kept(kind, stage, outputs[stage], tapped.call.tensors)[: tapped.count])
        self.prefix_seconds += time.perf_counter() - started
        self.prefix_images += len(rows)

    def _sink(self, stack: contextlib.ExitStack, kind: str, stage: int, view: int) -> Callable[[Tensor], None]:
        key = self._key(kind, stage, view)
        if self.store is not None:
            return stack.enter_context(self.store.writer(key))
        parts: list[Tensor] = []
        stack.callback(lambda: self._save(key, parts))
        return parts.append

    def _kept(self, kind: str, stage: int, activation: Tensor, raw: Sequence[Tensor]) -> Tensor:
        """What is stored of an activation: all of it, or the pooled features."""
        if kind == "raw":
            return activation.cpu()
        return read_features(self.trunk.stages.cut_after(stage), activation, raw).cpu()
