"""`torch:FILE.py:factory`: the user's own file is run, and what it states about inputs and classes is read."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from frostline.base.errors import ModelError, nearest
from frostline.data.preprocess import Preprocess
from frostline.models.network import CodeFile, Network, NetworkOptions, read_weights, seeded, tried
from frostline.models.sources.user_code import FORM, UserCode, read_code
from frostline.models.trials import check_values

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
    return _network(f"torch:{rest}", name, UserCode(read_code(Path(path_text))), options)


def load_saved_code(code: CodeFile, name: str, options: NetworkOptions) -> Network:
    """The network that a function of saved code returns; of the folder that it lies in no other file is imported."""
    network = _network(f"torch:{code.path}:{name}", name, UserCode(code, saved=True), options)
    return replace(network, model_args=dict(options.model_args))


def _network(spec: str, name: str, user: UserCode, options: NetworkOptions) -> Network:
    code = user.code
    module = _run(user)
    factory = _torch_file_factory(module, code, name)
    build = seeded(_guarded(factory, user, name, options.model_args))
    built = build(0)
    if options.weights is None:
        check_values(spec, built)
    preprocess = _torch_file_preprocess(module, code, options, built)
    self_loading = _loads_itself(built, build(1))
    weights, weights_name = _torch_file_weights(options, self_loading, code, name)
    network = Network(
        spec=spec,
        source="torch",
        build=build,
        weights=weights,
        weights_name=weights_name,
        preprocess=preprocess,
        self_loading=self_loading,
        classes=_torch_file_classes(module, code),
        code=user.record(),
    )
    identity = {"spec": f"torch:{name}", "args": dict(options.model_args), "packages": _packages()}
    found = tried(network, identity=identity)
    if user.record() != network.code:  # its forward has imported more
        found = tried(replace(network, code=user.record()), identity=identity)
    _check_saveable(user)
    return found


def run_file(path: Path) -> tuple[CodeFile, ModuleType]:
    """Run a Python file under a module name of its own; its folder is importable only to its own code."""
    user = UserCode(read_code(path))
    module = _run(user)
    return user.record(), module


def _run(user: UserCode) -> ModuleType:
    path = user.code.path
    try:
        return user.run()
    except ModelError:
        raise
    except SystemExit as error:
        raise ModelError(
            f"{path} ends the process when it is run (SystemExit: {error.code}).",
            'Put what reads a command line or trains under: if __name__ == "__main__":',
        ) from error
    except Exception as error:
        raise ModelError(f"{path} fails when it is run ({_code_error(error)}).", _import_hint(error, path)) from error


def _import_hint(error: Exception, path: str) -> str:
    """Return what to change in the code, where the cause can be told from what an import says."""
    if isinstance(error, ImportError) and "relative import" in str(error):
        return "The file is run by itself, not as part of a package: write `from parts import x`, without the dot."
    name = getattr(error, "name", None)
    if name in sys.stdlib_module_names and Path(path).with_name(f"{name}.py").is_file():
        return f"Rename {name}.py: Python has a module of that name, which comes first."
    if isinstance(error, ModuleNotFoundError) and name:
        return f"Put {name.partition('.')[0]} into the folder of {Path(path).name}, or install it as a package."
    return "Fix the file and try again."


def _check_saveable(user: UserCode) -> None:
    """Raise ModelError for imported code that couldn't be saved with the model, nor be trusted by its hash."""
    name, file = next(iter(user.unsaved.items()), (None, ""))
    if name is None:
        return
    path = Path(user.code.path)
    if Path(file).is_relative_to(path.parent):
        what = f"{file}, which isn't Python source"
    else:
        what = f"{file}, which lies outside the folder of {path.name}"
    raise ModelError(
        f"{path} imports {name} from {what}: it can't be saved with the model.",
        f"Put its source into {path.parent}, or install it as a package.",
    )


def _code_error(error: BaseException) -> str:
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
    if isinstance(found, nn.Module):
        raise ModelError(
            f"{name} in {code.path} is a network, and a function that makes one was expected.",
            f"Write def make(): return ..., with the layers made inside, and give {Path(code.path).name}:make.",
        )
    return found


def _guarded(
    factory: Callable[..., Any], user: UserCode, name: str, arguments: Mapping[str, Any]
) -> Callable[[], nn.Module]:
    path = user.code.path
    _check_arguments(factory, arguments, f"{name} in {path}")

    def make() -> nn.Module:
        try:
            with user.running():
                built = factory(**arguments)
        except ModelError:
            raise
        except (Exception, SystemExit) as error:
            hint = "Fix the function, or give --model-args."
            if isinstance(error, ImportError):
                hint = _import_hint(error, path)
            raise ModelError(
                f"{name} in {path} fails with {dict(arguments)!r} ({_code_error(error)}).", hint
            ) from error
        return _checked(built, f"{name} in {path}")

    return make


def _check_arguments(factory: Callable[..., Any], arguments: Mapping[str, Any], where: str) -> None:
    """Raise ModelError where the function needs arguments that aren't given."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # it doesn't tell: the call will
        return
    needed = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    lacking = [name for name in needed if name not in arguments]
    if lacking:
        example = json.dumps({**arguments, **dict.fromkeys(lacking, "...")})
        raise ModelError(
            f"{where} needs {' and '.join(lacking)}, but nothing is given for it.",
            f"Give --model-args '{example}', or write defaults into the function.",
        )


def _checked(built: Any, where: str) -> nn.Module:
    """Return what the function gave, where it is a network that can be watched; raises ModelError otherwise."""
    if not isinstance(built, nn.Module):
        raise ModelError(f"{where} returns a {type(built).__name__}, not an nn.Module.", FORM)
    if isinstance(built, torch.jit.ScriptModule):
        how = "scripted or traced"
    else:
        how = ""
        if hasattr(built, "_orig_mod"):
            how = "compiled"
    if how:
        raise ModelError(
            f"{where} returns a {how} network, whose layers can't be watched or frozen one by one.",
            "Return the nn.Module that it was made from.",
        )
    return built


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
