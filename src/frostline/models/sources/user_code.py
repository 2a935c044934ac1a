"""The user's own code, run apart: what it imports from its folder is its own, whatever else is loaded by that name.

The files that it imports from there are noted, since they are saved with the model.
"""

from __future__ import annotations

import builtins
import contextlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from frostline.base.errors import ModelError
from frostline.base.hashing import hash_bytes, hash_values
from frostline.models.network import CodeFile
from frostline.models.sources.user_code_state import kept_state

FORM = "Write torch:FILE.py:factory, where factory is a function in FILE.py that returns the network."
MAIN = "_frostline_code_"  # how the name of the user's file as a module begins
INSTALLED = ("site-packages", "dist-packages")
# Never taken from the user's folder: they are loaded once and for all.
OURS = frozenset({"frostline", "torch", "numpy"})


def hash_code(text: str, siblings: Sequence[tuple[str, str]]) -> str:
    """SHA-256 of the user's file, and of those that it imports from beside it where there are any."""
    digest = hash_bytes(text.encode())
    if not siblings:
        return digest
    return hash_values(digest, {name: hash_bytes(content.encode()) for name, content in siblings})


def read_code(path: Path, siblings: Sequence[str] = ()) -> CodeFile:
    """Read the user's file, and files beside it by their relative names. Raises ModelError; OSError for the latter."""
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", FORM)
    path = path.resolve()
    text = _read(path)
    beside = tuple((name, _read(path.parent / name)) for name in siblings)
    return CodeFile(path=str(path), sha256=hash_code(text, beside), text=text, siblings=beside)


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} isn't a Python file in UTF-8.", FORM) from error


class UserCode:
    """The modules of one network's code. Lives as long as the network.

    They are in sys.modules only while the code runs or imports something, so that two networks can each have a
    `parts.py` of their own. Of `saved` code nothing is imported but the files that were saved with it.
    `unsaved` are modules that can't be saved with it, with their files.
    """

    def __init__(self, code: CodeFile, *, saved: bool = False) -> None:
        folder = Path(code.path).parent
        self.code = code
        self.saved = saved
        self.unsaved: dict[str, str] = {}
        self._folder = str(folder)
        self._alone = folder.name in INSTALLED  # its neighbours are packages
        self._entries = [] if self._alone else [self._folder]  # folders to look in; the code may add others below
        self._texts: dict[str, str] = {}  # of the files that were imported, by relative name
        self._modules: dict[str, ModuleType] = {}
        self._tops: set[str] = set()  # first parts of their names
        self._beside: dict[str, bool] = {}  # first parts of names: whether the entries hold them
        self._hidden: dict[str, ModuleType] = {}  # others of these names, out of sys.modules while the code runs
        self._filters: list[Any] | None = None  # warning filters that the code has set for itself
        self._path_before: list[str] | None = None  # sys.path outside; None while the code isn't running
        sys.path_importer_cache.pop(self._folder, None)  # files may have come since it was listed

    def record(self) -> CodeFile:
        """Return the code with the files that it has imported so far, by name."""
        if self.saved:
            return self.code
        siblings = tuple(sorted(self._texts.items()))
        return replace(self.code, siblings=siblings, sha256=hash_code(self.code.text, siblings))

    def run(self) -> ModuleType:
        """Run the user's file as a module of a name of its own. Lets through whatever it raises."""
        path = self.code.path
        name = f"{MAIN}{hash_bytes(f'{path}{self.code.sha256}'.encode())[:16]}"
        module = module_from_spec(ModuleSpec(name, _Loader(name, path, self), origin=path))
        module.__file__ = path
        sys.modules[name] = module  # dataclasses and typing look their module up
        try:
            with self.running():
                _Loader(name, path, self).exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let the code run: its modules are there meanwhile, and what it changes in the process is put back."""
        if self._path_before is not None:
            yield
            return
        with kept_state():
            if self._filters is not None:
                warnings.filters[:] = self._filters  # type: ignore[index]
            with self._own_modules():
                yield
            self._filters = list(warnings.filters)

    @contextlib.contextmanager
    def _own_modules(self) -> Iterator[None]:
        self._hide(self.means)
        sys.modules.update(self._modules)
        loaded = set(sys.modules)
        finders = (_SourceFinder(self), _NamespaceFinder(self))
        sys.meta_path.insert(0, finders[0])
        sys.meta_path.append(finders[1])
        self._path_before = list(sys.path)
        try:
            yield
        finally:
            self._note_outside(set(sys.modules) - loaded)
            self._entries = self.entries()
            sys.path[:] = self._path_before
            self._path_before = None
            for finder in finders:
                sys.meta_path.remove(finder)
            own = [name for name in sys.modules if _top(name) in self._tops]
            self._modules.update({name: sys.modules.pop(name) for name in own})
            sys.modules.update(self._hidden)
            self._hidden.clear()

    def _hide(self, unwanted: Callable[[str], bool]) -> None:
        """Take modules out of sys.modules by the first parts of their names."""
        names = [name for name in sys.modules if unwanted(_top(name))]
        self._hidden.update({name: sys.modules.pop(name) for name in names})

    def means(self, top: str) -> bool:
        """Return True where the first part of a module's name is that of a file or package in the code's folders."""
        if top in self._tops:
            return True
        if top not in self._beside:
            self._beside[top] = not _is_kept(top) and any(
                Path(entry, f"{top}.py").is_file() or Path(entry, top, "__init__.py").is_file()
                for entry in self._entries
            )
        return self._beside[top]

    def entries(self) -> list[str]:
        """Return the folders to look in for modules, with those that the code has put on sys.path since it runs."""
        added = [entry for entry in self._added() if self.holds(entry)]
        found = list(dict.fromkeys([*self._entries, *added]))
        if found != self._entries:
            self._entries = found
            self._beside.clear()
        return found

    def _added(self) -> list[str]:
        before = self._path_before
        if before is None:
            return []
        return [os.path.realpath(entry) for entry in sys.path if entry not in before]

    def holds(self, path: str) -> bool:
        """Return True for the code's own folder and what lies below it, but not for packages installed there."""
        if self._alone or not Path(path).is_relative_to(self._folder):
            return False
        return not _is_installed(os.path.relpath(path, self._folder))

    def adopt(self, spec: ModuleSpec) -> ModuleSpec:
        """Return how a module below the folder is loaded: from its source, whose text is kept.

        Raises ModuleNotFoundError for a file that wasn't saved with saved code, though it lies there now.
        """
        path = str(spec.origin)
        from_source = isinstance(spec.loader, SourceFileLoader)
        if self.saved and not (from_source and self._relative(path) in dict(self.code.siblings)):
            raise ModuleNotFoundError(f"No module named {spec.name!r}", name=spec.name)
        self._tops.add(_top(spec.name))
        if from_source:
            spec.loader = _Loader(spec.name, path, self)
        else:
            self.unsaved[spec.name] = path
        return spec

    def _relative(self, path: str) -> str:
        return Path(os.path.relpath(path, self._folder)).as_posix()

    def adopt_folder(self, spec: ModuleSpec) -> ModuleSpec:
        """Return the package of a folder without __init__.py."""
        found = ModuleSpec(spec.name, None, is_package=True)
        found.submodule_search_locations = list(spec.submodule_search_locations or ())
        self._tops.add(_top(spec.name))
        return found

    def text_of(self, path: str) -> str:
        """Return the text of the user's file, or of one beside it: the very text that is hashed and saved."""
        name = self._relative(path)
        if self.saved and path != self.code.path:
            return dict(self.code.siblings)[name]
        if path == self.code.path:
            return self.code.text
        if name not in self._texts:
            self._texts[name] = _read(Path(path))
        return self._texts[name]

    def note(self, path: str) -> None:
        """Note a file that is run because it was imported."""
        self._texts[self._relative(path)] = self.text_of(path)

    def _note_outside(self, names: set[str]) -> None:
        """Note modules from folders elsewhere that the code has put on sys.path itself."""
        elsewhere = [entry for entry in self._added() if not self.holds(entry)]
        for name in sorted(names):
            file = getattr(sys.modules.get(name), "__file__", None)
            if file and not _is_installed(file) and any(Path(file).is_relative_to(entry) for entry in elsewhere):
                self.unsaved[name] = file

    def import_(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Stand in the code's modules for `__import__`: an import within a function may come at any time."""
        top = _top(name)
        wanted = fromlist or ()
        self.entries()
        if not level and not self.means(top):
            return builtins.__import__(name, globals, locals, wanted, level)
        known = self._modules.get(name if wanted else top)
        if not level and name in self._modules and all(hasattr(known, part) for part in wanted):
            return known
        with self.running():
            if not level and top not in self._tops:  # found in a folder that has just come to sys.path
                self._hide(lambda loaded: loaded == top)
            return builtins.__import__(name, globals, locals, wanted, level)


class _Loader(SourceFileLoader):
    """Runs the text that was hashed, and writes no byte code beside the user's files."""

    def __init__(self, fullname: str, path: str, code: UserCode) -> None:
        super().__init__(fullname, path)
        self._code = code

    def get_source(self, fullname: str) -> str:  # noqa: ARG002  (the protocol's argument)
        return self._code.text_of(self.path)

    def get_code(self, fullname: str) -> Any:
        return compile(self.get_source(fullname).encode(), self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        if not module.__name__.startswith(MAIN):
            self._code.note(self.path)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._code.import_}
        super().exec_module(module)


class _SourceFinder(MetaPathFinder):
    """Comes first: finds modules in the code's folders, where others may have the same name."""

    def __init__(self, code: UserCode) -> None:
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = _look_up(self._code, fullname, path, target)
        if spec is None or not spec.has_location:
            return None
        return self._code.adopt(spec)


class _NamespaceFinder(MetaPathFinder):
    """Comes last: a folder without __init__.py is a package only where nothing else has its name."""

    def __init__(self, code: UserCode) -> None:
        self._code = code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = _look_up(self._code, fullname, path, target)
        if spec is None or spec.has_location:
            return None
        return self._code.adopt_folder(spec)


def _look_up(code: UserCode, name: str, path: Sequence[str] | None, target: ModuleType | None) -> ModuleSpec | None:
    if path is not None:
        entries = [entry for entry in path if code.holds(entry)]
    elif _is_kept(name):
        return None
    else:
        entries = code.entries()
    if not entries:
        return None
    return PathFinder.find_spec(name, entries, target)


def _is_kept(name: str) -> bool:
    """Return True for modules of Python itself and of this package, which a file of that name doesn't replace."""
    return name in OURS or name in sys.stdlib_module_names


def _is_installed(file: str) -> bool:
    return any(name in Path(file).parts for name in INSTALLED)


def _top(name: str) -> str:
    return name.partition(".")[0]
