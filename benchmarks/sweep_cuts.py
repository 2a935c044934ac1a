"""Cuts of many networks: every cut that is offered is checked, and what isn't offered is printed with the reason.

    python benchmarks/sweep_cuts.py [--only WORDS] [--log FILE] [--out docs/cuts.md] [--limit SECONDS]

One process, one thread. A network that takes more processor time than the limit, or that can't be mapped, stands in
the table with the reason. With --log each finding is added to a file of JSON lines, and the table is made of all that
the file holds (of a network examined twice the later). Exits with 1 where a cut that is offered isn't exact.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `cases` lies
from frostline.base.device import prepare_process

prepare_process(1)

from cases.proof import Row, examine  # noqa: E402  (the allocator has to be set before torch is imported)
from cases.zoo import Entry, entries  # noqa: E402
from frostline.base.errors import FrostlineError  # noqa: E402
from frostline.cutting.guard import forked_seed  # noqa: E402

BEGIN, END = "<!-- sweep: begin -->", "<!-- sweep: end -->"
FEW = 4
SHOWN = 2  # reasons in a row of the table


class TooLongError(BaseException):
    """The network takes longer than the limit; not an Exception, which a network's own code could swallow."""


def main() -> None:
    """Examine what is asked for, print a line for each, write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words with commas: groups or parts of names")
    parser.add_argument("--out", type=Path, help="page to write the table into")
    parser.add_argument("--log", type=Path, help="file of JSON lines that findings are added to")
    parser.add_argument("--missing", action="store_true", help="only networks that the log doesn't hold")
    parser.add_argument("--limit", type=int, default=120, help="seconds of processor time for one network")
    args = parser.parse_args()
    wanted = [word for word in args.only.split(",") if word]
    warnings.filterwarnings("ignore")
    found: Found = {}
    known = read(args.log) if args.log and args.log.exists() and args.missing else {}
    for entry in entries():
        if (entry.group, entry.name) in known:
            continue
        if not wanted or any(word == entry.group or word in entry.name for word in wanted):
            row = found[entry.group, entry.name] = tried(entry, args.limit)
            print(line(entry.group, entry.name, row), flush=True)
            if args.log:
                kept = {"group": entry.group, "name": entry.name, "row": row if isinstance(row, str) else asdict(row)}
                with args.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(kept) + "\n")
    if args.log:
        found = read(args.log) | found
    print(summary(found))
    if args.out:
        write(args.out, page(found))
    sys.exit(1 if any(isinstance(row, Row) and row.wrong for row in found.values()) else 0)


Found = dict[tuple[str, str], Row | str]


def read(log: Path) -> Found:
    """What the file holds, in the order of the sweep."""
    found: Found = {}
    for text in log.read_text(encoding="utf-8").splitlines():
        note = json.loads(text)
        row = note["row"]
        if not isinstance(row, str):
            row = Row(**{**row, "reasons": tuple(row["reasons"]), "wrong": tuple(row["wrong"])})
        found[note["group"], note["name"]] = row
    order = [(entry.group, entry.name) for entry in entries()]
    return {key: found[key] for key in order if key in found}


def tried(entry: Entry, limit: int) -> Row | str:
    """What was found, or why nothing could be."""

    def stop(*_: Any) -> None:
        raise TooLongError

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        with forked_seed(0):
            case = entry.build()
        return examine(case.model, case.args, case.keywords, other=case.other)
    except TooLongError:
        return f"takes longer than {limit} s"
    except FrostlineError as error:
        return error.message
    except Exception as error:
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def line(group: str, name: str, row: Row | str) -> str:
    """One network on the screen."""
    start = f"{group:12s} {name:36s}"
    if isinstance(row, str):
        return f"{start} -- {row}"
    text = f"{start} {row.offered}/{row.stages} offered, {row.exact} exact, {row.seconds:5.1f} s, head {row.head}"
    return "\n".join([text, *(f"    not offered: {r}" for r in why(row)), *(f"    WRONG: {w}" for w in row.wrong)])


def summary(found: Found) -> str:
    """The totals."""
    rows = [row for row in found.values() if isinstance(row, Row)]
    offered, exact = sum(r.offered for r in rows), sum(r.exact for r in rows)
    few = sum(r.offered < FEW for r in rows)
    withdrawn = sum(r.withdrawn for r in rows)
    return (
        f"{len(rows)} of {len(found)} networks mapped; {offered} cuts offered, {exact} of them exact; "
        f"{few} networks with fewer than {FEW} cuts; {withdrawn} cuts withdrawn by the proof"
    )


def page(found: Found) -> str:
    """The table as Markdown."""
    header = "| source | network | modules | stages | offered | exact | CPU s | not offered |"
    lines = [summary(found) + ".", "", header, "|---|---|---|---|---|---|---|---|"]
    for (group, name), row in found.items():
        if isinstance(row, str):
            lines.append(f"| {group} | {name} | | | | | | {row} |")
        else:
            reasons = "<br>".join(shortened(why(row)))
            lines.append(
                f"| {group} | {name} | {row.modules} | {row.stages} | {row.offered} | {row.exact} "
                f"| {row.seconds:.1f} | {reasons} |"
            )
    return "\n".join(lines)


def why(row: Row) -> Sequence[str]:
    """Why there are no more cuts: a small network may have no more stages."""
    return row.reasons or ((f"it has no more than {row.stages} stages",) if row.offered < FEW else ())


def shortened(reasons: Sequence[str]) -> list[str]:
    """The first reasons, and how many more there are; the screen and the log have all."""
    more = len(reasons) - SHOWN
    return [*reasons[:SHOWN], f"and {more} more"] if more > 1 else list(reasons)


def write(path: Path, table: str) -> None:
    """Put the table between the marks of the page."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
