"""Every model spec resolved: those of the sources, and `run:RUN`, the network that a finished run left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from frostline.base.errors import BundleError, ModelError, described_by
from frostline.base.hashing import hash_bytes
from frostline.bundle.notes import read_notes
from frostline.bundle.saved import lasting_spec, outputs, rebuild
from frostline.cutting.heads import HeadSite
from frostline.models.network import Network, NetworkOptions, read_weights, tried
from frostline.models.new_heads import HeadForm, new_head
from frostline.models.sources import load_network

PREFIX = "run:"


def resolve_network(spec: str, options: NetworkOptions | None = None, *, trust_code: bool = False) -> Network:
    """The network that a spec names; `run:RUN` has the weights, classes and preprocessing of the RUN's model.

    Raises ModelError as `load_network` does; BundleError for a folder that isn't a finished run, for one whose network
    was cut short or has another head than a linear one, and for code in it that isn't trusted.
    """
    options = options or NetworkOptions()
    if not spec.startswith(PREFIX):
        return load_network(spec, options)
    run = spec.removeprefix(PREFIX)
    if not run:
        raise ModelError(f"--model {spec!r} has nothing after the colon.", "Give a folder: run:runs/NAME-1.")
    given = [f"--{n}" for n in ("mean", "std", "size") if getattr(options, n)]
    given += ["--model-args"] if options.model_args else []
    if given or options.weights not in (None, "random"):
        what = "--weights FILE"
        if given:
            what = given[0]
        raise ModelError(f"{what} doesn't apply to {spec}: the run brings its own.", "Leave it out.")
    return _from_run(Path(run) / "model", random=options.weights == "random", trust_code=trust_code)


def _from_run(folder: Path, *, random: bool, trust_code: bool) -> Network:
    note, classes, preprocess = read_notes(folder)
    with described_by(folder / "recipe.json"):
        site = HeadSite(**note["head"])
        form = HeadForm.from_json(note["head_form"])
    if note["cut"] or form.kind != "linear":
        if note["cut"]:
            found = "was cut short"
        else:
            found = f"has a head of the kind {form.kind!r}"
        raise BundleError(
            f"{folder.parent} can't be started from: its network {found}.",
            "Take a run of another strategy (finetune, freeze@K, probe, scratch), or the network it came from.",
        )
    with described_by(folder / "recipe.json"):
        base = rebuild(folder, note, preprocess, trust_code=trust_code)
    network = replace(
        base,
        build=_with_head(base.build, site, outputs(note, classes), form),
        weights=None if random else read_weights(folder / "model.safetensors"),
        weights_name="random" if random else f"{PREFIX}{folder.parent}",
        preprocess=preprocess,
        classes=None if random or note["headless"] else tuple(classes),
        self_loading=base.self_loading,
        headless=base.headless if random else note["headless"],
        history=() if random else tuple(note["history"]),
    )
    if base.code:
        lasting = base.spec.rpartition(":")[2]
    else:
        lasting = lasting_spec(base)
    files = {name: hash_bytes(content) for name, content in base.files.items()}
    identity: dict[str, Any] = {"spec": lasting, "args": dict(base.model_args), "classes": outputs(note, classes)}
    identity |= {"files": files} if files else {}
    with described_by(folder / "recipe.json"):
        return tried(network, identity=identity)


def _with_head(
    build: Callable[[int], nn.Module], site: HeadSite, classes: int, form: HeadForm
) -> Callable[[int], nn.Module]:
    def make(seed: int) -> nn.Module:
        model = build(seed)
        new_head(model, site, classes, form, seed=seed)
        return model

    return make
