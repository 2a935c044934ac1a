"""Names in a file of weights brought to those of the network: prefixes of wrappers, counters of tools, other heads.

What decides is the network's own tensors: a prefix is taken off, or put on, where that makes the most of them fit by
name and shape. Nothing of the network's body is ever made up or left out here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from frostline.models.weight_files import Weights, as_weights, in_words, preference

# Parts of a checkpoint under which a whole network lies, whatever else lies beside it.
WRAPPERS = re.compile(
    r"_orig_mod|_forward_module|module|model|net|network|base|base_model|body|trunk|ema|averaged_model"
    r"|(img_|image_|vision_|text_)?(backbone|encoder|model|tower)|visual|features?_extractor|encoder_[qk]"
    r"|(online|target|momentum|base|query|key|student|teacher|ema|model|net)_(encoder|network|net|model|backbone|ema)"
    r"|student|teacher"
)
TORCH_WRAPPERS = frozenset({"_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
COUNTER = ".num_batches_tracked"  # plays no part in inference; files from before torch 0.4.1 and other tools lack it
# Numbers that other tools leave in a state_dict; integers that the network doesn't know are left out whatever they say.
COUNTERS = frozenset(
    {
        "total_ops",
        "total_params",
        "n_averaged",
        "num_averaged",
        "num_batches_tracked",
        "num_updates",
        "decay",
        "epoch",
        "step",
        "steps",
        "global_step",
        "iteration",
        "iterations",
        "initted",
        "best_acc",
        "best_acc1",
        "best_score",
        "best_loss",
    }
)
LEAST_OF_FILE = 0.1  # of a file's tensors; with fewer, the network was met by chance within another one
LEAST_OF_NETWORK = 0.25  # of the network's tensors; with fewer, names are alike by chance
MOST_LAYERS = 5  # of another head
SECOND_SET = 0.9  # of the tensors that fit best: another set of weights for the same network


@dataclass(frozen=True, slots=True)
class Prefix:
    """What is taken off the names in the file, and what is put on instead."""

    off: str
    on: str = ""

    def renamed(self, name: str, own: Mapping[str, Tensor]) -> str:
        """Return the network's name of a tensor whose name begins with `off`."""
        short = name.removeprefix(self.off)
        return short if short in own else f"{self.on}{short}"


def with_own_names(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Weights:
    """Return weights under the names that the network has for them, `own` being its state_dict.

    One prefix is taken off or put on. Counters of other tools are left out, and so is what lies beside the network
    under another prefix: a second set of weights, or other parts of a training module. Notes say all of it. Weights
    that fit nowhere come back as they are, to be refused with their own names.
    """
    weights = as_weights(tensors)
    if own.keys() == weights.keys():
        return weights
    weights = _without_inner_wrappers(own, weights)
    best, others = _prefixes(own, weights)
    if best is None:
        return _without_counters(own, weights)
    inside = {name: t for name, t in weights.items() if name.startswith(best.off)}
    second = tuple(other.off for other in others)
    if second:
        inside = {name: tensor for name, tensor in inside.items() if not name.startswith(second)}
    result = weights.changed({best.renamed(name, own): tensor for name, tensor in inside.items()})
    if others:
        found = sorted({other.off.rstrip(".") for other in others}, key=preference)
        result = result.choice(best.off.rstrip(".") or "the plain one", found)
    outside = {n: t for n, t in weights.items() if n not in inside and not n.startswith(second)}
    return _without_counters(own, _with_rest(own, result, outside, best))


def _without_inner_wrappers(own: Mapping[str, Tensor], weights: Weights) -> Weights:
    """Take out the parts that wrappers of single modules put into names (`layer1._orig_mod.0.weight`)."""
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        parts = [part for part in name.split(".") if part not in TORCH_WRAPPERS]
        plain = ".".join(part for part in parts if part != "module")
        short = plain if plain in own and name not in own else ".".join(parts)
        if name in own or short in weights or short in renamed:
            short = name
        renamed[short] = tensor
    return weights.changed(renamed)


def _with_rest(own: Mapping[str, Tensor], result: Weights, outside: Mapping[str, Tensor], best: Prefix) -> Weights:
    """Add the tensors beside the network: a head of its own name is its head, and what lies beside a wrapper is left
    out. Others stay, to be judged."""
    around = _name_endings(best.off.rstrip("."))
    shorter = [best.off.removesuffix(f"{ending}.") for ending in around]
    rest: dict[str, Tensor] = {}
    for name, tensor in outside.items():
        short = next((name.removeprefix(p) for p in shorter if name.removeprefix(p) in own), name)
        rest[name if short in result else short] = tensor
    if not _wraps(best.off):
        return result.changed({**rest, **result})
    named = [name for name, tensor in rest.items() if name not in own and not _is_counter(name, tensor)]
    result = result.changed({**{name: tensor for name, tensor in rest.items() if name not in named}, **result})
    if not named:
        return result
    count = f"{len(named)} tensors beside it were" if len(named) > 1 else "1 tensor beside it was"
    return result.changed(
        result,
        f"{result.origin} holds the network under {best.off.rstrip('.')}; {count} left out ({in_words(named)}).",
    )


def _prefixes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> tuple[Prefix | None, list[Prefix]]:
    """Return the prefix that makes the most tensors fit, and those that make nearly as many fit: other sets.

    None where hardly anything fits.
    """
    counts: Counter[Prefix] = Counter()
    for on in _own_prefixes(own):
        wanted = {name.removeprefix(on): tensor.shape for name, tensor in own.items() if name.startswith(on)}
        for name, tensor in weights.items():
            for short in _name_endings(name):
                off = name.removesuffix(short)
                another_layer = on and off and "." not in short  # the prefixes name a layer, not what is around layers
                if wanted.get(short) == tensor.shape and not another_layer:
                    counts[Prefix(off, on)] += 1
    if not counts:
        return None, []
    most = max(counts.values())
    equal = [prefix for prefix, count in counts.items() if count == most]
    best = min(equal, key=lambda p: (bool(p.off or p.on), *preference(p.off.rstrip(".")), len(p.off) + len(p.on)))
    if (best.off or best.on) and (most < LEAST_OF_FILE * len(weights) or most < LEAST_OF_NETWORK * len(own)):
        return None, []
    others = [
        prefix
        for prefix, count in counts.items()
        if prefix.on == best.on and count >= SECOND_SET * most and not best.off.startswith(prefix.off)
    ]
    return best, others


def _wraps(prefix: str) -> bool:
    """Whether a prefix is made of names that wrappers have."""
    return all(WRAPPERS.fullmatch(part) for part in prefix.rstrip(".").split("."))


def _own_prefixes(own: Mapping[str, Tensor]) -> list[str]:
    """List what may have to be put before a file's names: nothing, and each module that holds most of the network."""
    found = [""]
    while True:
        around = found[-1]
        below = (name.removeprefix(around) for name in own if name.startswith(around))
        parts = Counter(part for part, dot, _ in (name.partition(".") for name in below) if dot)
        if not parts:
            return found
        part, count = parts.most_common(1)[0]
        if count * 2 <= len(own):
            return found
        found.append(f"{around}{part}.")


def _name_endings(name: str) -> list[str]:
    """List the name and what is left of it without its first part, its first two, and so on."""
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _without_counters(own: Mapping[str, Tensor], weights: Weights) -> Weights:
    """Leave out what is no weight of a layer: counters of other tools, single numbers outside any layer, and whole
    numbers that the network doesn't know."""
    counters = [name for name, tensor in weights.items() if name not in own and _is_counter(name, tensor)]
    if not counters:
        return weights
    kept = {name: tensor for name, tensor in weights.items() if name not in counters}
    silent = [name for name in counters if not name.endswith(COUNTER)]
    if not silent:
        return weights.changed(kept)
    what = "is no weight of the network and was" if len(silent) == 1 else "are no weights of the network and were"
    return weights.changed(kept, f"{weights.origin} also holds {in_words(silent)}, which {what} left out.")


def _is_counter(name: str, tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.ndim == 0 and "." not in name:
        return True
    return tensor.numel() == 1 and name.rpartition(".")[2] in COUNTERS


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnHead:
    """The network's head: its path, and how many features it reads. No path: the network ends in features."""

    path: str | None
    features: int


def without_other_head(own: Mapping[str, Tensor], weights: Weights, head: OwnHead) -> Weights:
    """Leave out a head that isn't the network's: several layers in its place, or a head under another name.

    Under another name it counts as a head where the network's own is lacking altogether, where it lies at the top, and
    where it is a chain of layers that begins with the network's features. Anything else stays, to be refused.
    """
    strange = [name for name in weights if name not in own]
    if not strange:
        return weights
    if not (_replaces(own, strange, head) or _is_head_elsewhere(own, weights, strange, head)):
        return weights
    kept = {name: tensor for name, tensor in weights.items() if name in own}
    whose = f"the network's is {head.path}" if head.path else "the network has none"
    return weights.changed(
        kept,
        f"{weights.origin} has another head, {in_words(strange)} ({whose}): it was left out, and the rest was loaded.",
    )


def _replaces(own: Mapping[str, Tensor], strange: Iterable[str], head: OwnHead) -> bool:
    """Return True where all these tensors lie in the place of the network's head."""
    if head.path is None:
        return False
    place = head.path
    while "." in place:
        wider = place.rpartition(".")[0]
        if not all(name.startswith(f"{head.path}.") for name in own if name.startswith(f"{wider}.")):
            break
        place = wider
    return all(name.startswith(f"{place}.") for name in strange)


def _is_head_elsewhere(
    own: Mapping[str, Tensor], weights: Mapping[str, Tensor], strange: Sequence[str], head: OwnHead
) -> bool:
    """Return True where these tensors are a head of another name."""
    if head.path is not None and any(name.startswith(f"{head.path}.") for name in weights):
        return False
    outer = {prefix.rstrip(".") for prefix in _own_prefixes(own)}
    if any(_root(own, name).rpartition(".")[0] not in outer for name in strange):
        return False
    return _is_chain([weights[name] for name in strange], head.features)


def _root(own: Mapping[str, Tensor], name: str) -> str:
    """Return the outermost module of a tensor that the network has nothing in."""
    parts = name.split(".")
    for count in range(1, len(parts)):
        root = ".".join(parts[:count])
        if not any(other.startswith(f"{root}.") for other in own):
            return root
    return name


def _is_chain(tensors: Sequence[Tensor], features: int) -> bool:
    """Return True for matrices (1x1 kernels among them) that read `features` or what another one gives, with nothing
    beside them but vectors and numbers of these widths. Files keep them in any order."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    shapes = [shape[:2] if shape[2:] == (1, 1) else shape for shape in shapes]
    matrices = [shape for shape in shapes if len(shape) == 2 and shape[1] != 1]
    widths = {features, *(shape[0] for shape in matrices)}
    first = any(shape[1] == features for shape in matrices)
    if not first or len(matrices) > MOST_LAYERS or not all(shape[1] in widths for shape in matrices):
        return False
    rest = [shape for shape in shapes if shape not in matrices]
    return all(shape in ((), (1,)) or (shape[0] in widths and shape[1:] in ((), (1,))) for shape in rest)
