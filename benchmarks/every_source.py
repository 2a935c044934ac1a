"""Every strategy on every source: what stayed frozen bit for bit, what changed, and whether the saved model reloads.

    python benchmarks/every_source.py [--only WORDS] [--large]

One process, plus one in which all saved models are read back. Small networks with random weights; --large adds further
ones, among them keras:ResNet50. Exits with 1 where a tensor is wrong or an answer differs by a bit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from pathlib import Path

from frostline.base.device import prepare_process

prepare_process(None)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # where `cases` lies
from cases.every_source import prepared, reloaded, run_all  # noqa: E402
from cases.source_networks import LARGE, SOURCES  # noqa: E402


def main() -> None:
    """Run what is asked for and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="words with commas: parts of the sources' names")
    parser.add_argument("--large", action="store_true", help="further networks")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    wanted = [word for word in args.only.split(",") if word]
    sources = {**SOURCES, **(LARGE if args.large else {})}
    bad = 0
    print("| source | strategies | frozen, identical | trained, changed | reload to the bit | s | can't run |")
    print("|---|---|---|---|---|---|---|")
    for name, make in sources.items():
        if wanted and not any(word in name for word in wanted):
            continue
        with tempfile.TemporaryDirectory() as place:
            start, folder = time.process_time(), Path(place)
            (folder / "network").mkdir()
            made = prepared(make(folder / "network"), folder / "data")
            rows = run_all(name, made, folder / "runs")
            seconds = time.process_time() - start
            same = reloaded(rows, {name: made.inputs}, folder)
        right = sum(same.values())
        why = "; ".join(f"{n}: {reason}" for n, reason in made.skipped.items())
        print(
            f"| {name} | {len(rows)} | {sum(r.frozen for r in rows)} | {sum(r.changed for r in rows)} | "
            f"{right} of {len(rows)} | {seconds:.1f} | {why} |",
            flush=True,
        )
        for row in rows:
            bad += bool(row.wrong) + (not same.get(row.folder, False))
            if row.wrong or not same.get(row.folder, False):
                print(
                    f"    {row.strategy}: {'' if same.get(row.folder, False) else 'reloads differently; '}"
                    f"{len(row.wrong)} tensors wrong: {', '.join(row.wrong[:6])}",
                    flush=True,
                )
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
