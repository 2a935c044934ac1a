"""The parts of the page on data beside those of the comparison."""

from __future__ import annotations

from pathlib import PurePath

from frostline.report import figures
from frostline.report.elsewhere import (
    ARM_HEADER,
    MEMORY_HEADER,
    TARGET_HEADER,
    arm_rows,
    elsewhere_sentences,
    memory_rows,
    target_rows,
)
from frostline.report.panels import Panel, Shown
from frostline.report.stored import Stored


def elsewhere_panels(stored: Stored) -> list[Panel]:
    """Return the sections on the target and on the network's first task; none where the run had neither."""
    built = [target_panel(stored), memory_panel(stored)]
    return [panel for panel in built if panel]


def target_panel(stored: Stored) -> Panel | None:
    """Accuracy here and on the target, what differs between them, and what adapting to it was estimated to bring."""
    result = stored.result
    target = result.get("target")
    if target is None:
        return None
    name = PurePath(target["path"]).name
    shown = []
    rows = target_rows(result)
    if rows:
        shown.append(
            Shown(
                key="target",
                figure=figures.target_figure(result),
                caption=f"Every strategy on the sealed part of the data and on {name}. The best here needn't be the "
                "best there.",
                alt="Accuracy of each strategy on the sealed part and on the target.",
                header=TARGET_HEADER,
                rows=rows,
            )
        )
    lead = elsewhere_sentences({"target": target})
    for row in arm_rows(target["arms"], target["choice"]):
        cells = [
            f"{label} {cell}" for label, cell in zip(ARM_HEADER[1:4], row[1:4], strict=True) if cell not in ("-", "")
        ]
        lead.append(f"{row[0]}: {', '.join(cells) or row[4]}.")
    return Panel(id="target", title=f"On other data: {name}", lead=lead, shown=tuple(shown))


def memory_panel(stored: Stored) -> Panel | None:
    """What the network knows of its first task, before and after."""
    result = stored.result
    task = result.get("source_task")
    if task is None:
        return None
    shown = Shown(
        key="memory",
        figure=figures.memory_figure(result),
        caption="The first head is the one that the network came with, put back onto the trained layers. The new "
        "linear head is fitted on half of the source data and judged on the other half: it says what the features "
        "still hold. Strategies that train nothing before the head forget nothing.",
        alt="Accuracy on the network's first task, before training and after each strategy.",
        header=MEMORY_HEADER,
        rows=memory_rows(task),
    )
    lead = elsewhere_sentences({"source_task": task})
    return Panel(id="memory", title="What the network forgot", lead=lead, shown=(shown,))
