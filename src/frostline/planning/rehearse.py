"""Tries at the start what could fail at the end: the network's saved form is written, loaded again and compared.

A network with code of the user's is loaded in another process and another current folder: what its code reads or
imports by itself isn't there, as it won't be where the saved model is used.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.device import Compute
from frostline.base.errors import BundleError, FrostlineError
from frostline.base.events import Emit, Event
from frostline.bundle.runfolder import is_begun
from frostline.bundle.saved import CODE, SavedModel, load_model, named_tensors, save_model
from frostline.bundle.spec import PREFIX
from frostline.cutting.guard import one_thread, untouched
from frostline.cutting.heads import HeadSite
from frostline.cutting.stages import StageMap
from frostline.data.contract import Contract
from frostline.features.inference import grouped, scores_in_chunks
from frostline.models.network import Network, example_call
from frostline.models.new_heads import HeadForm, new_head
from frostline.models.sources.torch_file import run_file
from frostline.planning.understudy import Understudy, fork_early, own_pipes, serve, spawn
from frostline.recipe.selection import make_recipe
from frostline.recipe.settings import Settings

SAMPLES = 3
COMPUTE = Compute(device="cpu", precision="fp32", channels_last=False, threads=1, chunk=SAMPLES)
# The same processor gives the same bits; a kernel that is chosen by where its memory lies may differ in the last ones.
TOLERANCE = 1e-5  # of the largest score
LONGEST = 300.0  # seconds
WEIGHTS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")  # what --weights may read
TENSORS = (".npz", ".npy", ".h5", ".hdf5", ".pkl", ".pickle", ".t7")  # what may hold weights too
LONGEST_TEXT = 240  # letters of an error's first line
LARGE = ("torchvision", "timm", "transformers")
LIBRARIES = {*LARGE, "torch", "frostline"}
_PROGRAM = "from frostline.planning.rehearse import work_spawned; work_spawned()"
_passed = set[str]()  # networks and numbers of classes that were tried in this process: one fit of many tries them


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What was written, with the scores (SAMPLES, classes) of the network that it was written from."""

    network: Network
    folder: Path
    scores: Tensor
    key: str


class Rehearsal:
    """Lives from before the network is read until just before the race; its process doesn't outlive it."""

    def __init__(self, settings: Settings, *, early: bool = True) -> None:
        """`early`: nothing was computed in this process yet, so that it can be forked."""
        begun = settings.continues and settings.out is not None and is_begun(settings.out)
        self._wanted = not begun  # a run that was begun has passed it, and goes on only with the same inputs
        self._understudy: Understudy | None = None
        self._tried: _Tried | None = None
        self._answer: Mapping[str, Any] | None = None
        self._cleanup = contextlib.ExitStack()
        code = _code_path(settings.model)
        if early and self._wanted and code is not None:
            self._understudy = fork_early(answer, before=lambda: _import_libraries(code))

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._understudy is not None:
            self._understudy.end()
        self._cleanup.close()

    def begin(self, network: Network, model: nn.Module, stages: StageMap, classes: Sequence[str]) -> None:
        """Write the network's saved form, with a head for these classes, and have it loaded.

        `model` is the network as it was mapped, on the CPU; it is left as it was. Raises BundleError where the saved
        form can't be written.
        """
        apart = network.code is not None or _has_own_layers(model)
        key = f"{network.fingerprint} {len(classes)}"
        if not self._wanted or not (apart or network.files or network.architecture) or key in _passed:
            return
        room = self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="frostline-"))
        folder = Path(os.path.realpath(room)) / "model"
        with untouched(model), _random_head(model, stages.head, len(classes)):
            _save(folder, network, model, stages, classes)
            scores = _scores(model, network.preprocess)
        self._tried = _Tried(network=network, folder=folder, scores=scores, key=key)
        if not apart:
            self._answer = answer(folder)
            return
        elsewhere = folder.with_name("elsewhere")
        elsewhere.mkdir()
        with contextlib.suppress(OSError):  # no process can be started: `finish` says that nothing was tried
            self._understudy = self._understudy or spawn(_PROGRAM)
            self._understudy.tell(folder, cwd=elsewhere)

    def finish(self, emit: Emit) -> None:
        """Compare what the loaded network answers. Raises BundleError where it couldn't be loaded or differs."""
        tried = self._tried
        if tried is None:
            return
        found = self._answer
        if found is None and self._understudy is not None:
            found = self._understudy.wait(LONGEST)
        if found is None:
            emit(Event(kind="warning", text="The saved model couldn't be tried: its process ended without an answer."))
            return
        if "error" in found:
            raise _refusal(found, tried.network, tried.folder)
        _compare(tried.scores, found)
        _passed.add(tried.key)


def _code_path(spec: str) -> Path | None:
    """Return the file of the user's that a spec will run; None where there is none."""
    if spec.startswith(PREFIX):
        path = Path(spec.removeprefix(PREFIX)) / "model" / CODE
    elif spec.startswith("torch:"):
        path = Path(spec.removeprefix("torch:").rpartition(":")[0])
    else:
        return None
    return path if path.is_file() else None


def _import_libraries(path: Path) -> None:
    """Import the large libraries that the user's file imports, so that a fork doesn't import them a second time.

    Not where the file sets environment variables: those have to be set before.
    """
    try:
        text = path.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(text)))
    except (OSError, ValueError, SyntaxError):  # it is refused in a sentence when it is run
        return
    if "environ" in text:
        return
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level}
    tops = {name.partition(".")[0] for name in names}
    for library in LARGE:
        beside = path.with_name(f"{library}.py").exists() or path.with_name(library).exists()
        if library in tops and not beside:
            with contextlib.suppress(ImportError):
                importlib.import_module(library)


def _has_own_layers(model: nn.Module) -> bool:
    """Return True where a layer's class is of no library that saved models are built with."""
    return not {type(module).__module__.partition(".")[0] for module in model.modules()} <= LIBRARIES


@contextlib.contextmanager
def _random_head(model: nn.Module, site: HeadSite, classes: int) -> Iterator[None]:
    """Put a head of random numbers in the place of the network's own meanwhile."""
    own = model.get_submodule(site.path)
    head = new_head(model, site, classes)
    generator = torch.Generator().manual_seed(0)
    owner, _, name = site.path.rpartition(".")
    try:
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        yield
    finally:
        setattr(model.get_submodule(owner), name, own)


def _save(folder: Path, network: Network, model: nn.Module, stages: StageMap, classes: Sequence[str]) -> None:
    saved = SavedModel(
        model=model,
        recipe=make_recipe("probe", stages.stages),
        form=HeadForm(),
        rate=None,
        network=network,
        head=stages.head,
        cut=None,
        compute=COMPUTE,
        classes=classes,
        tensors=frozenset(named_tensors(model)),
    )
    try:
        save_model(folder, saved)
    except OSError as error:
        raise BundleError(
            f"The saved model can't be tried: writing it to {folder.parent} failed ({error.strerror}).",
            "Make room there, or name another folder in the environment variable TMPDIR.",
        ) from error


def _scores(model: nn.Module, contract: Contract) -> Tensor:
    call = example_call(contract, SAMPLES)
    with one_thread():
        return scores_in_chunks(lambda _: call.run(model), torch.arange(SAMPLES), grouped(None, COMPUTE), COMPUTE)


def work_spawned() -> None:
    """Be the process that :func:`frostline.planning.understudy.spawn` starts."""
    serve(*own_pipes(), answer)


def answer(folder: Path) -> dict[str, Any]:
    """Load a saved model; return its scores and whether a second call gives the same, or what went wrong.

    The user's file is then run once more: the run's own process loads the model too, and has run it before.
    """
    loaded = None
    try:
        with one_thread():
            loaded = load_model(folder, trust_code=True, device="cpu")
            scores, again = (_scores(loaded.model, loaded.preprocess) for _ in range(2))
        if (folder / CODE).is_file():
            run_file(folder / CODE)
    except (Exception, SystemExit) as error:
        return {**_told(error), "again": loaded is not None}
    return {"scores": scores.double().tolist(), "repeats": torch.equal(scores.nan_to_num(), again.nan_to_num())}


def _told(error: BaseException) -> dict[str, Any]:
    """Describe an error by its cause: the file or module that is missing, else the first that isn't ours."""
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    files = [file for e in chain if (file := _file_of(e))]
    modules = [e.name for e in chain if isinstance(e, ModuleNotFoundError) and e.name]
    own = [e for e in chain if not isinstance(e, FrostlineError)]
    cause = (own or chain)[0]
    text = (str(cause).strip().splitlines() or [""])[0][:LONGEST_TEXT]
    note: dict[str, Any] = {"error": type(cause).__name__, "text": text}
    if files:
        note["file"] = files[0]
    elif modules:
        note["module"] = modules[0]
    elif isinstance(cause, FrostlineError):
        note |= {"text": cause.message, "hint": cause.hint}
    return note


def _file_of(error: BaseException) -> str | None:
    """Return the path of the file that is missing, where an error is about one; libraries may write it into its text
    only."""
    if isinstance(error, FileNotFoundError) and error.filename is not None:
        return os.fsdecode(error.filename)
    if isinstance(error, FrostlineError):
        return None
    match = re.search(r"""(?:No such file or directory: |unable to open file: name = )["']?([^"']+)""", str(error))
    if match is None and isinstance(error, FileNotFoundError):
        match = re.search(r"^(\S+) not found", str(error))
    if match is None:
        return None
    return str(match[1]).strip()


def _refusal(found: Mapping[str, Any], network: Network, folder: Path) -> BundleError:
    """Make the sentence of an error: which code needs what that isn't saved with the model."""
    if network.code is None:
        return BundleError(
            f"The saved model of {network.spec} can't be loaded again ({found['error']}: {found['text']}).",
            found.get("hint") or "Give the network as torch:FILE.py:factory.",
        )
    path = Path(network.code.path)
    if "module" in found:
        return BundleError(
            f"{path.name} imports {found['module']}, which isn't found where the saved model is loaded: it is neither "
            f"in the folder of {path.name} nor installed.",
            "Put it into that folder, so that it is saved with the model, or install it as a package.",
        )
    if "file" in found:
        return _file_refusal(str(found["file"]), path, folder)
    if "hint" in found and network.self_loading:
        return BundleError(
            f"{path.name} loads weights by itself, but finds none where the saved model is loaded: only Python files "
            "are saved with it.",
            "Let it build the network without weights, and give --weights FILE.",
        )
    text = str(found["text"]).replace(str(folder / CODE), str(path)).replace(str(folder), str(path.parent))
    if found["again"]:
        return BundleError(
            f"{path.name} can't be run a second time in one process ({found['error']}: {text}), as it is when the "
            "saved model is loaded.",
            "Let it register and set such things only where that hasn't been done yet.",
        )
    return BundleError(
        f"{path.name} fails where the saved model is loaded, in another process and folder ({found['error']}: {text}).",
        "It has to build the network from its own Python files alone; weights come from --weights FILE.",
    )


def _file_refusal(file: str, path: Path, folder: Path) -> BundleError:
    if Path(file).is_relative_to(folder):
        file = str(path.parent / Path(file).relative_to(folder))
    hint = f"Write what it holds into {path.name}, or into a .py file beside it: those are saved with the model."
    if file.endswith(".py"):
        hint = (
            f"Import it by an import statement, `from {Path(file).stem} import ...`: then it is saved with the model."
        )
    elif file.lower().endswith(WEIGHTS):
        hint = f"Let {path.name} build the network without weights, and give --weights {file}."
    elif file.lower().endswith(TENSORS):
        hint = f"If it holds weights, let {path.name} build the network without, save them as a state_dict, and give "
        hint += "--weights FILE. Else write what it holds into a .py file."
    return BundleError(
        f"{path.name} reads {file} by itself, which isn't there where the saved model is loaded: only Python files are "
        "saved with it.",
        hint,
    )


def _compare(before: Tensor, found: Mapping[str, Any]) -> None:
    if not found["repeats"]:
        raise BundleError(
            "The network gives other answers each time it is called with the same inputs, even in inference mode.",
            "Let dropout and noise depend on self.training, as in F.dropout(x, training=self.training).",
        )
    expected = before.double().nan_to_num()
    after = torch.tensor(found["scores"], dtype=torch.float64).nan_to_num()
    tolerance = max(TOLERANCE, 4 * torch.finfo(before.dtype).eps) * float(expected.abs().max())
    gap = float("inf")
    if after.shape == expected.shape:
        gap = float((after - expected).abs().max())
    if gap > tolerance:
        raise BundleError(
            f"The network answers differently once it is saved and loaded elsewhere (by {gap:.2g}).",
            "Its code keeps state outside its parameters and buffers, or reads something that isn't saved with it.",
        )
