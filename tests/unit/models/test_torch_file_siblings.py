"""What a network's code imports from beside it is found, noted and kept apart, and refused where it can't be saved."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest
import torch

from frostline.base.errors import ModelError
from frostline.base.hashing import hash_bytes
from frostline.models.network import CodeFile, Network, NetworkOptions
from frostline.models.sources import load_network
from frostline.models.sources.torch_file import load_saved_code, run_file
from frostline.models.sources.user_code import UserCode, hash_code, read_code

START = "from torch import nn\nMEAN, STD, INPUT_SIZE = 0.5, 0.5, (3, 8, 8)\n"
END = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.fc = body(), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.body(x))
"""
BODY = """from torch import nn
def body(width=4):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.{0}(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files below a folder; returns its net.py."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "net.py"


def load(file: Path, factory: str = "Net") -> Network:
    return load_network(f"torch:{file}:{factory}", NetworkOptions(weights="random"))


def code_of(file: Path) -> CodeFile:
    code = load(file).code
    assert code is not None
    return code


def names_of(file: Path) -> list[str]:
    return [name for name, _ in code_of(file).siblings]


FORMS: dict[str, tuple[dict[str, str], list[str]]] = {
    "a module": ({"net.py": f"{START}from parts import body\n{END}", "parts.py": BODY.format("ReLU")}, ["parts.py"]),
    "a module by another name": (
        {"net.py": f"{START}import parts as p\nbody = p.body\n{END}", "parts.py": BODY.format("ReLU")},
        ["parts.py"],
    ),
    "a module of a module": (
        {
            "net.py": f"{START}from parts import *\n{END}",
            "parts.py": "from deeper import body\n",
            "deeper.py": BODY.format("ReLU"),
        },
        ["deeper.py", "parts.py"],
    ),
    "a package": (
        {
            "net.py": f"{START}import layers.body\nbody = layers.body.body\n{END}",
            "layers/__init__.py": "from . import more\n",
            "layers/more.py": "",
            "layers/body.py": BODY.format("ReLU"),
        },
        ["layers/__init__.py", "layers/body.py", "layers/more.py"],
    ),
    "a folder without __init__.py": (
        {"net.py": f"{START}from layers.body import body\n{END}", "layers/body.py": BODY.format("ReLU")},
        ["layers/body.py"],
    ),
    "below a folder that the code puts on sys.path": (
        {
            "net.py": "import os, sys\nsys.path += [os.path.join(os.path.dirname(__file__), 'lib')]\n"
            f"{START}from parts import body\n{END}",
            "lib/parts.py": BODY.format("ReLU"),
        },
        ["lib/parts.py"],
    ),
    "by name, with importlib": (
        {
            "net.py": f"import importlib\n{START}body = importlib.import_module('parts').body\n{END}",
            "parts.py": BODY.format("ReLU"),
        },
        ["parts.py"],
    ),
    "in the factory": (
        {
            "net.py": START + END.replace("super()", "from parts import body\n        super()"),
            "parts.py": BODY.format("ReLU"),
        },
        ["parts.py"],
    ),
    "in forward": (
        {
            "net.py": START
            + BODY.format("ReLU")
            + END.replace("return self.fc", "import scale.by as s\n        return s.TWO * self.fc"),
            "scale/__init__.py": "",
            "scale/by.py": "TWO = 2.0\n",
        },
        ["scale/__init__.py", "scale/by.py"],
    ),
    "the network's own file": (
        {
            "net.py": f"{START}WIDTH = 4\nfrom parts import body\n{END}",
            "parts.py": BODY.format("ReLU").replace("(width=4)", "()") + "from net import WIDTH as width\n",
        },
        ["net.py", "parts.py"],
    ),
    "nothing": ({"net.py": START + BODY.format("ReLU") + END, "parts.py": "raise ValueError\n"}, []),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_is_imported_from_beside_is_noted_and_the_process_left_alone(form: str, tmp_path: Path) -> None:
    files, expected = FORMS[form]
    before = (list(sys.path), list(sys.meta_path), set(sys.modules))
    assert names_of(write(tmp_path, files)) == expected
    assert (sys.path, sys.meta_path) == before[:2]
    new = {name.partition(".")[0] for name in set(sys.modules) - before[2]}
    assert new & {"net", "parts", "deeper", "layers", "scale", "lib"} == set()
    assert not list(tmp_path.rglob("*.pyc"))


@pytest.mark.parametrize("form", FORMS)
def test_saved_code_builds_the_same_network_without_its_folder(form: str, tmp_path: Path) -> None:
    file = write(tmp_path / "code", FORMS[form][0])
    network = load(file)
    assert network.code is not None
    copies = {"code.py": network.code.text, **dict(network.code.siblings)}
    write(tmp_path / "copy", copies)
    code = read_code(tmp_path / "copy" / "code.py", [name for name, _ in network.code.siblings])
    assert (code.sha256, code.siblings) == (network.code.sha256, network.code.siblings)
    for path in (tmp_path / "code").rglob("*.py"):
        path.unlink()
    again = load_saved_code(code, "Net", NetworkOptions(weights="random"))
    assert again.fingerprint == network.fingerprint
    x = torch.ones(2, 3, 8, 8)
    assert torch.equal(again.build(3).eval()(x), network.build(3).eval()(x))


def test_the_hash_is_that_of_the_file_where_it_is_alone_and_else_covers_all(tmp_path: Path) -> None:
    text = START + BODY.format("ReLU") + END
    assert code_of(write(tmp_path / "alone", {"net.py": text})).sha256 == hash_bytes(text.encode())
    assert hash_code(text, []) == hash_bytes(text.encode())
    files = FORMS["a module"][0]
    first = load(write(tmp_path / "one", files))
    other = load(write(tmp_path / "two", {**files, "parts.py": BODY.format("GELU")}))
    assert first.code is not None
    assert other.code is not None
    assert first.code.text == other.code.text
    assert first.code.sha256 != other.code.sha256
    assert first.fingerprint != other.fingerprint
    assert hash_code("a", [("x.py", "b"), ("y.py", "")]) != hash_code("a", [("x.py", ""), ("y.py", "b")])


def test_two_networks_each_have_their_own_parts(tmp_path: Path) -> None:
    main = f"{START}from parts import body\n{END}"
    kinds = {"one": "ReLU", "two": "GELU"}
    files = {k: write(tmp_path / k, {"net.py": main, "parts.py": BODY.format(v)}) for k, v in kinds.items()}
    for order in (("one", "two"), ("two", "one")):
        networks = {name: load(files[name]) for name in order}
        for name in order:
            assert type(networks[name].build(0).get_submodule("body.1")).__name__ == kinds[name]
    lazy = {k: write(tmp_path / f"lazy {k}", {**FORMS["in forward"][0], "scale/by.py": f"TWO = {n}\n"}) for k, n in
            (("one", 1.0), ("two", 2.0))}  # fmt: skip
    x = torch.ones(2, 3, 8, 8)
    one, two = (load(lazy[k]).build(0).eval() for k in ("one", "two"))
    for _ in range(2):
        assert torch.equal(2 * one(x), two(x))


def test_a_module_of_that_name_that_the_program_has_loaded_is_neither_used_nor_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = ModuleType("parts")
    monkeypatch.setitem(sys.modules, "parts", loaded)
    for form in ("a module", "below a folder that the code puts on sys.path"):
        assert names_of(write(tmp_path / form, FORMS[form][0])) == FORMS[form][1]
        assert sys.modules["parts"] is loaded


def test_a_folder_of_images_does_not_hide_an_installed_package(tmp_path: Path) -> None:
    files = {"net.py": f"import timm\n{START}{BODY.format('ReLU')}{END}", "timm/a.txt": "", "scipy/b.txt": ""}
    assert names_of(write(tmp_path, files)) == []
    assert sys.modules["timm"].__file__ is not None


def test_nothing_else_of_a_saved_folder_is_imported(tmp_path: Path) -> None:
    main = "try:\n    from parts import body\nexcept ImportError:\n    from layers.body import body\n"
    files = {"code.py": f"{START}{main}{END}", "layers/__init__.py": "", "layers/body.py": BODY.format("ReLU")}
    write(tmp_path, {**files, "parts.py": BODY.format("GELU"), "layers/more.py": ""})
    saved = [name for name in files if name != "code.py"]
    network = load_saved_code(read_code(tmp_path / "code.py", saved), "Net", NetworkOptions(weights="random"))
    assert type(network.build(0).get_submodule("body.1")).__name__ == "ReLU"
    user = UserCode(read_code(tmp_path / "code.py", saved), saved=True)
    user.run()
    with pytest.raises(ModuleNotFoundError, match=r"layers\.more"):
        user.import_("layers.more")


def test_code_that_cannot_be_saved_is_refused_by_name(tmp_path: Path) -> None:
    outside = tmp_path / "lib"
    write(outside, {"parts.py": BODY.format("ReLU")})
    main = f"from sys import path\npath.insert(0, {str(outside)!r})\n{START}from parts import body\n{END}"
    with pytest.raises(ModelError, match=r"imports parts from .*lies outside the folder of net\.py") as caught:
        load(write(tmp_path / "code", {"net.py": main}))
    assert "install it as a package" in caught.value.hint
    sys.modules.pop("parts", None)
    import py_compile

    compiled = tmp_path / "bare"
    write(compiled, {"net.py": FORMS["a module"][0]["net.py"], "source.py": BODY.format("ReLU")})
    py_compile.compile(str(compiled / "source.py"), cfile=str(compiled / "parts.pyc"))
    with pytest.raises(ModelError, match=r"imports parts from .*parts\.pyc, which isn't Python source"):
        load(compiled / "net.py")


@pytest.mark.parametrize(
    ("text", "words", "hint"),
    [
        ("from . import parts\n", "relative import", "without the dot"),
        ("from .parts import body\n", "relative import", "without the dot"),
        (
            "import nowhere_at_all.x\n",
            "No module named 'nowhere_at_all'",
            "Put nowhere_at_all into the folder of net.py",
        ),
        ("from profile import body\n", "cannot import name 'body'", "Rename profile.py"),
        ("raise SystemExit(3)\n", "ends the process when it is run (SystemExit: 3)", '__name__ == "__main__"'),
        ("import argparse\nargparse.ArgumentParser().parse_args(['--x'])\n", "SystemExit: 2", "__main__"),
        ("import parts\nparts.nothing\n", "AttributeError", "Fix the file"),
        ("import latin\n", "latin.py isn't a Python file in UTF-8", "torch:FILE.py"),
    ],
)
def test_imports_that_fail_get_a_sentence_and_a_way_out(tmp_path: Path, text: str, words: str, hint: str) -> None:
    file = write(tmp_path, {"net.py": text + START + END, "parts.py": BODY.format("ReLU"), "profile.py": ""})
    (tmp_path / "latin.py").write_bytes("x = 'ä'\n".encode("latin-1"))
    with pytest.raises(ModelError) as caught:
        load(file)
    assert words in caught.value.message
    assert hint in caught.value.hint


def test_a_script_that_trains_under_main_is_only_read(tmp_path: Path) -> None:
    text = f"{START}{BODY.format('ReLU')}{END}\nif __name__ == '__main__':\n    raise SystemExit('training')\n"
    assert load(write(tmp_path, {"net.py": text})).code is not None


def test_what_a_file_prints_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "net.py": f"print('hello')\n{START}import parts\n{BODY.format('ReLU')}{END}",
        "parts.py": "print('there')\n",
    }
    load(write(tmp_path, files))
    out, err = capsys.readouterr()
    assert out == ""
    assert "hello\nthere\n" in err


def test_arguments_that_a_factory_needs_are_named(tmp_path: Path) -> None:
    text = f"{START}{BODY.format('ReLU')}{END}\ndef make(classes, *, width, depth=1):\n    return Net()\n"
    with pytest.raises(ModelError, match=r"make in .*net\.py needs classes and width") as caught:
        load(write(tmp_path, {"net.py": text}), "make")
    assert """--model-args '{"classes": "...", "width": "..."}'""" in caught.value.hint
    options = NetworkOptions(weights="random", model_args={"classes": 2, "width": 3})
    assert load_network(f"torch:{tmp_path / 'net.py'}:make", options).model_args == {"classes": 2, "width": 3}


def test_a_factory_that_ends_the_process_is_refused(tmp_path: Path) -> None:
    text = f"{START}def make():\n    import sys\n    sys.exit('no')\n"
    with pytest.raises(ModelError, match=r"make in .* fails with \{\} \(SystemExit: no\)"):
        load(write(tmp_path, {"net.py": text}), "make")


def test_a_file_is_run_with_what_it_imports(tmp_path: Path) -> None:
    code, module = run_file(write(tmp_path, FORMS["a module"][0]))
    assert [name for name, _ in code.siblings] == ["parts.py"]
    assert module.body(4)[0].out_channels == 4


def test_a_network_where_a_function_was_named_is_told(tmp_path: Path) -> None:
    file = write(tmp_path, {"net.py": f"{START}made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())\n"})
    with pytest.raises(ModelError, match=r"made in .*net\.py is a network, and a function") as error:
        load(file, "made")
    assert "def make()" in error.value.hint


def test_values_that_are_no_numbers_are_named_where_the_code_loads_them(tmp_path: Path) -> None:
    code = "def make():\n    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))\n"
    code += "    nn.init.constant_(net[0].weight, float('nan'))\n    return net\n"
    file = write(tmp_path, {"net.py": START + code})
    with pytest.raises(ModelError, match=r"0\.weight"):
        load_network(f"torch:{file}:make", NetworkOptions())
