"""`frostline doctor`: can this machine run a fit, and by which rules would it?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from frostline.base.errors import FrostlineError, RecipeError
from frostline.cli import options as o
from frostline.cli.problems import USER_ERROR
from frostline.cli.screen import print_json, print_table, print_text

if TYPE_CHECKING:
    from frostline.report.support import Member

CHECKED_PACKAGES = (
    *("frostline", "torch", "torchvision", "timm", "numpy", "scipy"),
    *("scikit-learn", "pillow", "pyarrow", "pydantic", "safetensors"),
)
EXTRAS = (
    ("cleanlab", "quality", "for labels that look wrong"),
    ("keras", "keras", "for keras: networks"),
    ("transformers", "text", "for texts and hf: networks"),
    ("tokenizers", "text", "for texts"),
    ("matplotlib", "figures", "for report --figures"),
    ("tensorboard", "track", "for --track tensorboard"),
)
FREE_GB_NEEDED = 2.0  # decoded views and activations of a usual data set

BundleOption = Annotated[
    Path | None,
    o.value_option(
        o.OUTPUT_PANEL, "--bundle", "Write what a bug report needs, without data or names. Nothing is sent.", "FILE.zip"
    ),
]
BundleRunOption = Annotated[
    Path | None,
    o.value_option(o.OUTPUT_PANEL, "--run", "The run that the report is about. Default: the newest in runs/.", "RUN"),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the doctor's report; where `ok` is False, a fit would fail."""

    name: str
    value: str
    ok: bool = True
    hint: str = ""


def doctor_verb(bundle: BundleOption = None, run: BundleRunOption = None, json: o.JsonOption = False) -> None:
    """Check versions, device, threads, store and disk; exit code 2 means that something would stop a fit."""
    if bundle is None and run is not None:
        raise RecipeError("--run doesn't apply: doctor looks at a run for --bundle alone.", "Add --bundle FILE.zip.")
    from frostline.base.device import prepare_process

    prepare_process(None)
    checks = [
        *package_checks(),
        *extra_checks(),
        pairing_check(),
        *hardware_checks(),
        *storage_checks(),
        offline_check(),
    ]
    if bundle is not None:
        write_bundle(bundle, run, checks, json=json)
        return
    if json:
        print_json([asdict(check) for check in checks])
    else:
        rows = [(c.name, c.value, "ok" if c.ok else "NOT OK", c.hint) for c in checks]
        print_table(("what", "found", "", "hint"), rows)
    if not all(check.ok for check in checks):
        raise typer.Exit(USER_ERROR)


def write_bundle(path: Path, run: Path | None, checks: list[Check], *, json: bool) -> None:
    """Write the support bundle, and say what is in it."""
    from frostline.report.support import newest_run, write_support

    run = run or newest_run()
    members = write_support(path, [asdict(check) for check in checks], run)
    if json:
        files = [{"name": m.name, "bytes": len(m.content), "about": m.about} for m in members]
        print_json({"written": str(path), "run": str(run) if run else None, "files": files})
    else:
        print_text(support_text(path, run, members))


def support_text(path: Path, run: Path | None, members: list[Member]) -> str:
    """Return what the bundle holds, as lines."""
    about = f"It is about the run in {run}."
    if run is None:
        about = "There is no run in runs/, so it is about this machine alone; --run RUN adds one."
    lines = [f"{path} holds what a bug report needs. {about}", ""]
    lines += [f"  {m.name}: {m.about} ({len(m.content):,} bytes)" for m in members]
    lines += [
        "",
        "It has no images, texts, weights or answers for single samples. Names of classes, files, folders, user and",
        "host are replaced by placeholders. Nothing was sent: look through it, then attach it to your report.",
    ]
    return "\n".join(lines)


def package_checks() -> Iterator[Check]:
    """Check the installed versions of what a fit imports."""
    for name in CHECKED_PACKAGES:
        try:
            yield Check(name=name, value=version(name))
        except PackageNotFoundError:
            yield Check(name=name, value="not installed", ok=False, hint=f"pip install {name}")


def extra_checks() -> Iterator[Check]:
    """Check optional packages, and say what they would add; a fit runs without them."""
    for name, extra, use in EXTRAS:
        try:
            yield Check(name=name, value=version(name))
        except PackageNotFoundError:
            yield Check(name=name, value="not installed", hint=f"{use}: pip install 'frostline[{extra}]'")


def pairing_check() -> Check:
    """Check that torchvision's compiled part matches the installed torch."""
    try:
        import torch
        import torchvision

        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        torchvision.ops.nms(boxes, torch.ones(1), 0.5)
    except (ImportError, RuntimeError, AttributeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        hint = "install torch and torchvision of one release together (constraints.txt)"
        return Check(name="torch with torchvision", value=reason, ok=False, hint=hint)
    return Check(name="torch with torchvision", value="match")


def hardware_checks() -> Iterator[Check]:
    """Report device, arithmetic and threads, as the written rule chooses them."""
    from frostline.base.device import cpu_flags, default_threads, find_device, has_bf16, machine

    device = find_device("auto")
    facts = machine()
    yield Check(name="device", value=" ".join(filter(None, (device, facts.get("gpu")))))
    wide = sorted(cpu_flags() & {"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "bf16"})
    yield Check(name="CPU", value=f"{facts.get('cpu_capability')} ({', '.join(wide) or 'no wide instructions'})")
    rule = "bf16 for networks that are large enough" if has_bf16(device) else "fp32 (no bf16 in hardware)"
    yield Check(name="precision", value=rule)
    waiting = os.environ.get("OMP_WAIT_POLICY", "not set")
    yield Check(name="threads", value=f"{default_threads()} of {facts.get('cores')} cores, OpenMP waits: {waiting}")


def storage_checks() -> Iterator[Check]:
    """Check that the store's folder can be written and has room."""
    from frostline.base.files import cache_folder

    hint = "--store DIR puts it elsewhere, --store off does without"
    try:
        folder = cache_folder()
    except FrostlineError as error:
        yield Check(name="store", value=error.message, ok=False, hint=error.hint)
        return
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if os.access(existing, os.W_OK | os.X_OK):
        yield Check(name="store", value=str(folder))
    else:
        yield Check(name="store", value=f"{folder} (not writable)", ok=False, hint=hint)
    for name, place in (("disk of the store", existing), ("disk of this folder", Path.cwd())):
        free = shutil.disk_usage(place).free / 1e9
        if free >= FREE_GB_NEEDED:
            yield Check(name=name, value=f"{free:.1f} GB free")
        else:
            yield Check(name=name, value=f"{free:.1f} GB free", ok=False, hint=f"{FREE_GB_NEEDED:g} GB are needed")


def offline_check() -> Check:
    """Report what works offline: weights in the hubs' caches. Nothing is looked up on the internet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    hub = Path(os.environ.get("HF_HOME", cache / "huggingface")) / "hub"
    torch_home = Path(os.environ.get("TORCH_HOME", cache / "torch")) / "hub" / "checkpoints"
    count = sum(1 for _ in hub.glob("models--*")) + sum(1 for p in torch_home.glob("*") if p.is_file())
    value = f"{count} networks in the hubs' caches; torch:FILE.py:factory and --weights FILE work offline"
    return Check(name="offline", value=value)
