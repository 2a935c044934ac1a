"""`torch:FILE.py:factory`: the user's own file is run, and what it states about inputs and classes is read."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError, nearest
from frostline.base.hashing import hash_bytes
from frostline.data.preprocess import Preprocess
from frostline.models.network import CodeFile, Network, NetworkOptions, read_weights, seeded, tried

FORM = "Write torch:FILE.py:factory, where factory is a function in FILE.py that returns the network."
STORED = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".torchscript")


def load_torch_file(rest: str, options: NetworkOptions) -> Network:
    """The network that a function of the user's file returns; raises ModelError as `load_network` says."""
    path_text, _, name = rest.rpartition(":")
    stored = next((text for text in (rest, path_text) if text.lower().endswith(STORED)), None)
    if stored is not None:
        raise ModelError(
            f"{stored} is a file of stored objects (pickled or scripted), and reading a network from it "
            "could run any code.",
            f"{FORM} The weights in it go into --weights.",
        )
    if not path_text or not name.isidentifier():
        raise ModelError(f"--model torch:{rest} isn't of the form FILE.py:factory.", FORM)
    code, module = run_file(Path(path_text))
    factory = _torch_file_factory(module, code, name)
    build = seeded(_guarded(factory, code, name, options.model_args))
    built = build(0)
    preprocess = _torch_file_preprocess(module, code, options, built)
    self_loading = _loads_itself(built, build(1))
    weights, weights_name = _torch_file_weights(options, self_loading, code, name)
    network = Network(
        spec=f"torch:{rest}",
        source="torch",
        build=build,
        weights=weights,
        weights_name=weights_name,
        preprocess=preprocess,
        self_loading=self_loading,
        classes=_torch_file_classes(module, code),
        code=code,
    )
    return tried(network, identity={"spec": f"torch:{name}", "args": dict(options.model_args), "packages": _packages()})


class _TextLoader(importlib.abc.InspectLoader):
    """Runs the very text that was hashed, and writes no byte code beside the user's file."""

    def __init__(self, code: CodeFile) -> None:
        self.code = code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  (the protocol's argument)
        return self.code.text

    def get_filename(self, fullname: str) -> str:  # noqa: ARG002
        return self.code.path

    def get_code(self, fullname: str) -> Any:
        return self.source_to_code(self.get_source(fullname), self.code.path)


def run_file(path: Path) -> tuple[CodeFile, ModuleType]:
    """Run a Python file under a module name of its own; its folder is importable only meanwhile."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", FORM)
    path = path.resolve()
    data = path.read_bytes()
    try:
        code = CodeFile(path=str(path), sha256=hash_bytes(data), text=data.decode())
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} isn't a Python file in UTF-8.", FORM) from error
    name = f"_frostline_code_{hash_bytes(f'{path}{code.sha256}'.encode())[:16]}"
    spec = importlib.util.spec_from_loader(name, _TextLoader(code), origin=str(path))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and typing look their module up
    try:
        with _importable(path.parent):
            _TextLoader(code).exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ModelError(
            f"{path} fails when it is run ({_code_error(error)}).", "Fix the file and try again."
        ) from error
    return code, module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _code_error(error: Exception) -> str:
    first = ""
    if str(error):
        first = str(error).splitlines()[0]
    if first:
        return f"{type(error).__name__}: {first}"
    return type(error).__name__


def _torch_file_factory(module: ModuleType, code: CodeFile, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(module, name, None)
    if found is None or not callable(found):
        own = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and callable(v)]
        known = FORM
        if own:
            known = nearest(name, own)
        raise ModelError(f"{code.path} has no function {name!r}.", known)
    return found


def _guarded(
    factory: Callable[..., Any], code: CodeFile, name: str, arguments: Mapping[str, Any]
) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        try:
            with _importable(Path(code.path).parent):
                built = factory(**arguments)
        except Exception as error:
            raise ModelError(
                f"{name} in {code.path} fails with {dict(arguments)!r} ({_code_error(error)}).",
                "Fix the function, or give --model-args.",
            ) from error
        if not isinstance(built, nn.Module):
            raise ModelError(f"{name} in {code.path} returns a {type(built).__name__}, not an nn.Module.", FORM)
        if isinstance(built, torch.jit.ScriptModule):
            how = "scripted or traced"
        else:
            how = ""
            if hasattr(built, "_orig_mod"):
                how = "compiled"
        if how:
            raise ModelError(
                f"{name} in {code.path} returns a {how} network, whose layers can't be watched or frozen one by one.",
                "Return the nn.Module that it was made from.",
            )
        return built

    return make


def _loads_itself(first: nn.Module, second: nn.Module) -> bool:
    """Whether two seeds give the same weights: of all matrices that aren't constant, more than half are equal."""
    equal = total = 0
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        if a.ndim >= 2 and a.requires_grad and bool((a != a.flatten()[0]).any()):
            total += a.numel()
            equal += a.numel() * torch.equal(a, b)
    return equal * 2 > total


def _torch_file_weights(
    options: NetworkOptions, self_loading: bool, code: CodeFile, name: str
) -> tuple[Mapping[str, Tensor] | None, str]:
    if options.weights == "random":
        if self_loading:
            raise ModelError(
                f"--weights random: {name} in {code.path} loads weights by itself, whatever the seed.",
                "Leave --weights out, or let the function build the network without weights.",
            )
        return None, "random"
    if options.weights is not None:
        return read_weights(options.weights), Path(options.weights).name
    if not self_loading:
        raise ModelError(
            f"{name} in {code.path} gives random weights, and no others were named.",
            "Give --weights FILE, or --weights random.",
        )
    return None, f"{Path(code.path).name}:{name}"


def _torch_file_preprocess(module: ModuleType, code: CodeFile, options: NetworkOptions, built: nn.Module) -> Preprocess:
    channels, size = _input_size(getattr(module, "INPUT_SIZE", None), code)
    if options.size:
        size = (options.size, options.size)
    mean = options.mean or _numbers(module, "MEAN", code)
    std = options.std or _numbers(module, "STD", code)
    if size is None:
        raise _unstated(code, "INPUT_SIZE", "--size N")
    if mean is None:
        raise _unstated(code, "MEAN", "--mean M")
    if std is None:
        raise _unstated(code, "STD", "--std S")
    if channels is None:  # the first convolution knows
        convolutions = (m.in_channels for m in built.modules() if isinstance(m, nn.Conv2d))
        channels = next(convolutions, max(len(mean), len(std)))
    return Preprocess.default(size, mean, std, channels)


def _unstated(code: CodeFile, constant: str, option: str) -> ModelError:
    return ModelError(f"{code.path} doesn't state {constant}.", f"Write the constant there, or give {option}.")


def _input_size(value: Any, code: CodeFile) -> tuple[int | None, tuple[int, int] | None]:
    """(channels, (height, width)) from `(C, H, W)`, `(H, W)` or one number; what isn't stated is None."""
    if value is None:
        return None, None
    if isinstance(value, int):
        numbers = [value]
    else:
        numbers = []
        if isinstance(value, Sequence):
            numbers = list(value)
    if not 1 <= len(numbers) <= 3 or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise ModelError(
            f"INPUT_SIZE = {value!r} in {code.path} isn't a size.", "Write (C, H, W), such as (3, 224, 224)."
        )
    if len(numbers) == 1:
        height, width = (numbers * 2)[:2]
    else:
        height, width = numbers[-2:]
    return (numbers[0] if len(numbers) == 3 else None), (height, width)


def _numbers(module: ModuleType, name: str, code: CodeFile) -> tuple[float, ...] | None:
    value = getattr(module, name, None)
    if value is None:
        return None
    try:
        return tuple(float(v) for v in (value if isinstance(value, Sequence) else [value]))
    except (TypeError, ValueError) as error:
        raise ModelError(
            f"{name} = {value!r} in {code.path} isn't numbers.", f"Write {name} = (0.5, 0.5, 0.5)."
        ) from error


def _torch_file_classes(module: ModuleType, code: CodeFile) -> tuple[str, ...] | None:
    value = getattr(module, "CLASSES", None)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise ModelError(f"CLASSES in {code.path} isn't a list of names.", 'Write CLASSES = ("cat", "dog").')
    return tuple(value)


def _packages() -> dict[str, str]:
    """Installed versions of the packages that the user's code may have taken its layers from, loaded or not."""
    versions = {}
    for name in ("torch", "torchvision", "timm", "transformers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
