"""Hands odd inputs to every reader of foreign bytes and keeps those that one of them can't cope with.

    python -m tools.fuzz --minutes 5              # all targets, in turn
    python -m tools.fuzz --only tables --seed 7
    python -m tools.fuzz --only tables --seed 7 --input 1234    # one input once more, with its traceback

An input is a pure function of (seed, target, number). A find is an exception other than FrostlineError, a crash of the
interpreter, an input that takes too long or too much memory, two readings that differ, and what is taken although its
checksum is wrong. Each kind of find is kept once, with its input, and the run goes on.
Each target runs in a process of its own, so that one which crashes costs a single input. See docs/fuzzing.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from types import FrameType

from frostline.base.errors import FrostlineError
from tools.fuzzing.target import Target, TooSlowError, WrongAnswerError

TWICE = 4  # every so many-th input is read twice
ADDRESS_SPACE = 16 << 30  # bytes, so that no input takes the whole machine's memory
SOURCE = "frostline"
UNMADE = "(no input could be made of what was drawn)"
Outcome = tuple[str, str]  # the kind of a find (empty: none), and the traceback or what was read


@dataclass
class Tally:
    """What one target has had so far: `kinds` are the finds by kind, with how often each came."""

    target: str
    inputs: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)


def all_targets() -> tuple[Target, ...]:
    """Every target, in the order in which they run."""
    from tools.fuzzing.data_targets import folder_targets, image_targets, table_targets
    from tools.fuzzing.file_targets import file_targets
    from tools.fuzzing.model_targets import model_targets
    from tools.fuzzing.record_targets import record_targets

    found = (
        *table_targets(),
        *folder_targets(),
        *image_targets(),
        *file_targets(),
        *model_targets(),
        *record_targets(),
    )
    return tuple(target for target in found if target.needs is None or find_spec(target.needs) is not None)


def fuzz_target(target: Target, seed: int, seconds: float, place: Path, start: int = 0) -> Tally:
    """Read inputs of one target from number `start` on for so long, at least one, and keep the finds below `place`."""
    _limit_memory()
    valid = place / "valid" / target.name
    tally = Tally(target.name)
    state = place / f"{target.name}.state.json"
    if not valid.is_dir():
        fresh = valid.with_name(f"{target.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            target.prepare(fresh)
        except Exception:
            print(traceback.format_exc(), flush=True)
            raise
        fresh.rename(valid)
    begun = time.monotonic()
    number = start
    while number == start or time.monotonic() - begun < seconds:
        state.write_text(json.dumps({"number": number, "tally": asdict(tally)}))
        with _scratch() as folder:
            kind, text = try_input(target, seed, number, valid, folder)
            tally.inputs += text != UNMADE
            tally.seconds = time.monotonic() - begun
            if kind:
                _keep(tally, kind, text, folder, place, f"--only {target.name} --seed {seed} --input {number}")
        number += 1
    state.write_text(json.dumps({"number": number, "tally": asdict(tally)}))
    return tally


def try_input(target: Target, seed: int, number: int, valid: Path, folder: Path) -> Outcome:
    """Make one input in an empty folder and read it."""
    try:
        target.write(Random(f"{seed}/{target.name}/{number}"), valid, folder)
    except Exception:  # a library that writes files refused what was drawn
        return "", UNMADE
    before = _peak_mb(reset=True)
    begun = time.monotonic()
    kind, text = _read(target, valid, folder)
    took = time.monotonic() - begun
    grown = _peak_mb() - before
    if kind:
        return kind, text
    if took > target.seconds:
        return "took too long", f"{took:.1f} s"
    if grown > target.megabytes:
        return "took too much memory", f"{grown:.0f} MiB"
    if number % TWICE == 0:
        kind, again = _read(target, valid, folder)
        if (kind, again) != ("", text):
            return "two readings differ", f"{text}\n\n{again}"
    return "", text


def _read(target: Target, valid: Path, folder: Path) -> Outcome:
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, 3 * target.seconds)
    try:
        with warnings.catch_warnings(), _silence():
            warnings.simplefilter("ignore")
            return "", target.read(valid, folder)
    except FrostlineError as error:
        return "", str(error)
    except TooSlowError:
        return f"hangs {_own_line(sys.exc_info()[1])}", traceback.format_exc()
    except WrongAnswerError as error:
        return str(error), traceback.format_exc()
    except BaseException as error:
        return f"{type(error).__name__} {_own_line(error)}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_slow(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlowError


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Libraries print of what they read; the figures are all that is to be seen."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


def _own_line(error: BaseException | None) -> str:
    """The last line of the package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    own = [frame for frame in frames if f"/{SOURCE}/" in frame.filename]
    if not own:
        return "nowhere in the package"
    return f"in {own[-1].filename.rpartition(f'/{SOURCE}/')[2]}:{own[-1].lineno}"


def _peak_mb(*, reset: bool = False) -> float:
    """The most memory that this process has held since the last reset, in MiB."""
    if reset:
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _limit_memory() -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """An empty folder, in memory where the system has such a place."""
    memory = Path("/dev/shm")  # nosec B108  # mkdtemp makes a folder of its own in it
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    try:
        yield folder
    finally:
        for path in folder.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)


def _keep(tally: Tally, kind: str, text: str, folder: Path, place: Path, again: str) -> None:
    """Count a find; its first input is kept with the traceback, and said."""
    tally.kinds[kind] = tally.kinds.get(kind, 0) + 1
    name = "".join(c if c.isalnum() else "-" for c in f"{tally.target} {kind}")[:90]
    kept = place / "finds" / name
    if kept.exists():
        return
    kept.mkdir(parents=True)
    with contextlib.suppress(OSError, shutil.Error):
        shutil.copytree(folder, kept / "input", symlinks=True, ignore=_pipes)
    (kept / "what.txt").write_text(f"python -m tools.fuzz {again}\n{kind}\n{text}", errors="backslashreplace")
    print(f"find: {kind}\n  python -m tools.fuzz {again}\n  kept in {kept}", flush=True)


def _pipes(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if (Path(folder) / name).is_fifo()]


def _work(name: str, seed: int, seconds: float, place: Path, start: int) -> None:
    """What the process of one target does."""
    os.environ["FROSTLINE_CACHE"] = str(place / "cache")
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # where C libraries write what they think of a file
    (target,) = (target for target in all_targets() if target.name == name)
    fuzz_target(target, seed, seconds, place, start)


def run_in_processes(names: Sequence[str], seed: int, seconds: float, place: Path) -> list[Tally]:
    """Give each target its share of the time; a process that dies is a find, and another goes on after its input."""
    context = multiprocessing.get_context("spawn")
    tallies = []
    for name in names:
        tally = Tally(name)
        start = 0
        while tally.seconds < seconds:
            process = context.Process(target=_work, args=(name, seed, seconds - tally.seconds, place, start))
            process.start()
            process.join()
            state_file = place / f"{name}.state.json"
            if not state_file.is_file():
                raise SystemExit(f"{name}: no input could be made")
            state = json.loads(state_file.read_text())
            state_file.unlink()
            _add(tally, state["tally"])
            if process.exitcode == 0:
                break
            start = state["number"] + 1
            kind = f"the process died ({process.exitcode})"
            tally.kinds[kind] = tally.kinds.get(kind, 0) + 1
            print(f"find: {kind}\n  python -m tools.fuzz --only {name} --seed {seed} --input {start - 1}", flush=True)
        tallies.append(tally)
        print(_line(tally), flush=True)
    return tallies


def _add(tally: Tally, more: dict[str, object]) -> None:
    """Add the figures of a process."""
    part = Tally(**more)  # type: ignore[arg-type]
    tally.inputs += part.inputs
    tally.seconds += part.seconds
    for kind, count in part.kinds.items():
        tally.kinds[kind] = tally.kinds.get(kind, 0) + count


def _line(tally: Tally) -> str:
    return f"{tally.target:12} {tally.inputs:8,} inputs in {tally.seconds:5.0f} s, {len(tally.kinds)} kinds of finds"


def _once(name: str, seed: int, number: int, place: Path) -> None:
    """Read one input again and print what came of it."""
    (target,) = (target for target in all_targets() if target.name == name)
    with _scratch() as folder:
        kind, text = try_input(target, seed, number, place / "valid" / name, folder)
    print(f"{kind or 'no find'}\n{text}")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 1 where there were finds."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="names of targets, with commas between them")
    parser.add_argument("--input", type=int, help="the number of a single input of the one target that --only names")
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "frostline-fuzz")
    given = parser.parse_args(words)
    os.environ["FROSTLINE_CACHE"] = str(given.out / "cache")
    names = given.only.split(",") if given.only else [target.name for target in all_targets()]
    if given.input is not None:
        _once(names[0], given.seed, given.input, given.out)
        return 0
    given.out.mkdir(parents=True, exist_ok=True)
    tallies = run_in_processes(names, given.seed, given.minutes * 60 / len(names), given.out)
    figures = [asdict(tally) for tally in tallies]
    (given.out / f"figures-{given.seed}.json").write_text(json.dumps(figures, indent=1))
    return int(any(tally.kinds for tally in tallies))


if __name__ == "__main__":
    sys.exit(main())
