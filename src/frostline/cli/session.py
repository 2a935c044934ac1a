"""What one invocation of the command remembers, so that an interrupted run can say how to continue."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

from frostline.base.clock import Clock

RESUMABLE = ("fit", "demo", "pretrain", "rank", "curve", "adapt")
CONCLUDABLE = ("fit",)


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
        return self._again("--resume")

    def conclude_command(self) -> str | None:
        """Return the same command with --conclude; None for verbs without it, and where no run was begun."""
        if self.run is None or not self.argv or self.argv[0] not in CONCLUDABLE:
            return None
        return self._again("--conclude")

    def _again(self, flag: str) -> str:
        words = ["frostline", *self.argv]
        if self.run and not any(w == "--out" or w.startswith("--out=") for w in words):
            words += ["--out", self.run]
        words = [word for word in words if word not in ("--resume", "--conclude")]
        words.append(flag)
        return shlex.join(words)
