"""What one invocation of the command remembers, so that an interrupted run can say how to continue."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from frostline.base.clock import Clock

RESUMABLE = ("fit", "pretrain")


@dataclass(slots=True, kw_only=True)
class Session:
    """The words that were typed, and the RUN folder once a run has one (an event's `data["run"]`).

    A budget is counted on `clock`.
    """

    argv: list[str] = field(default_factory=list)
    run: str | None = None
    clock: Clock = field(default_factory=Clock)

    def resume_command(self) -> str | None:
        """Return the same command with --resume (and --out, where that was the default); None for other verbs."""
        if not self.argv or self.argv[0] not in RESUMABLE:
            return None
        words = ["frostline", *self.argv]
        if self.run and not any(w == "--out" or w.startswith("--out=") for w in words):
            words += ["--out", self.run]
        if "--resume" not in words:
            words.append("--resume")
        return shlex.join(words)
