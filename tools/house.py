"""Counts what tests of behaviour don't see: how dense the lines are, which names stand twice, how large the rooms are.

    python tools/house.py [FOLDER]

FOLDER is a package's folder, by default src/frostline. tests/contract/test_house.py holds the ceilings.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "frostline"
SMALLEST = 5  # lines of a file that counts


@dataclass(frozen=True, kw_only=True)
class House:
    """The counts of one package. Names are those of functions and classes, private ones too."""

    lines: int
    conditionals: int  # `a if c else b`
    nested: tuple[str, ...]  # places where one conditional expression holds another
    pairs: int  # `a, b = x, y`
    skips: int  # `fmt: skip`
    names: Mapping[str, tuple[str, ...]]  # defined in two or more modules -> those modules
    rooms: Mapping[str, int]  # lines by folder, or module, directly below the package
    importers: Mapping[str, int]  # files that import each file
    circles: tuple[tuple[str, ...], ...]  # files that import each other, in a ring

    @property
    def conditionals_per_thousand(self) -> float:
        return 1000 * self.conditionals / self.lines

    @property
    def largest_room(self) -> tuple[str, float]:
        """Its name, and its share of the package's lines."""
        name = max(self.rooms, key=lambda room: self.rooms[room])
        return name, self.rooms[name] / self.lines


def inspect_package(package: Path) -> House:
    """Count over all modules of a package's folder."""
    paths = sorted(package.rglob("*.py"))
    every = {path.relative_to(package).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    imports = _imports(package.name, {name: ast.parse(text) for name, text in every.items()})
    sources = {name: text for name, text in every.items() if len(text.splitlines()) >= SMALLEST}
    trees = {name: ast.parse(text) for name, text in sources.items()}
    rooms: Counter[str] = Counter()
    for name, text in sources.items():
        rooms[name.partition("/")[0]] += len(text.splitlines())
    return House(
        lines=rooms.total(),
        conditionals=sum(isinstance(node, ast.IfExp) for tree in trees.values() for node in ast.walk(tree)),
        nested=tuple(place for name, tree in trees.items() for place in _nested(name, tree)),
        pairs=sum(_is_pair(node) for tree in trees.values() for node in ast.walk(tree)),
        skips=sum(text.count("fmt: skip") for text in sources.values()),
        names=_names_twice(trees),
        rooms=rooms,
        importers=Counter(target for targets in imports.values() for target in targets),
        circles=tuple(_circles(imports)),
    )


def _nested(name: str, tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.IfExp) and sum(isinstance(inner, ast.IfExp) for inner in ast.walk(node)) > 1:
            yield f"{name}:{node.lineno}"


def _is_pair(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple)


def _names_twice(trees: Mapping[str, ast.Module]) -> dict[str, tuple[str, ...]]:
    places: defaultdict[str, set[str]] = defaultdict(set)
    for name, tree in trees.items():
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                places[node.name].add(name)
    return {name: tuple(sorted(modules)) for name, modules in sorted(places.items()) if len(modules) > 1}


def _imports(package: str, trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """File -> files of the package that it imports, imports inside functions and for type checkers included."""
    graph: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
                base = "/".join(node.module.split(".")[1:])
                candidates = [f"{base}/{alias.name}.py".lstrip("/") for alias in node.names] + [f"{base}.py"]
                graph[name] |= {c for c in candidates if c in trees}
    return graph


def _circles(graph: Mapping[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Strongly connected files, by what each reaches and is reached by."""
    reached = {name: _reachable(graph, name) for name in graph}
    done: set[str] = set()
    for name in graph:
        ring = {other for other in reached[name] if name in reached[other]}
        if ring and name not in done:
            done |= ring
            yield tuple(sorted(ring))


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    queue = [start]
    while queue:
        for name in graph[queue.pop()] - found:
            found.add(name)
            queue.append(name)
    return found


def main() -> None:
    """Print the counts."""
    house = inspect_package(Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE)
    room, share = house.largest_room
    print(f"lines {house.lines}")
    print(f"conditional expressions {house.conditionals} ({house.conditionals_per_thousand:.1f} in a thousand lines)")
    print(f"nested conditional expressions {len(house.nested)} {' '.join(house.nested)}")
    print(f"paired assignments {house.pairs}")
    print(f"fmt: skip {house.skips}")
    print(f"names in two or more modules {len(house.names)}")
    for name, modules in house.names.items():
        print(f"  {name}: {', '.join(modules)}")
    print(f"file circles {len(house.circles)} {house.circles or ''}")
    print(f"largest room {room} ({share:.1%})")


if __name__ == "__main__":
    main()
