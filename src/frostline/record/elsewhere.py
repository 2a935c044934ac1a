"""Data beside those of the comparison, as parts of the record: the target, and the network's first task."""

from __future__ import annotations

from frostline.adapt.after_fit import TargetFindings
from frostline.adapt.arms import ARMS
from frostline.adapt.judge import ArmResult, Opened
from frostline.base.records import FloatArray
from frostline.bundle.further_schema import (
    MemoryRecord,
    RemedyRecord,
    SourceTaskRecord,
    TargetArmRecord,
    TargetRecord,
)
from frostline.bundle.typed import ScoreRecord
from frostline.conclude.elsewhere import OnTarget
from frostline.conclude.forgetting import Forgetting, Memory, Share
from frostline.stats.intervals import wilson


def target_score(found: OnTarget, probabilities: FloatArray | None) -> ScoreRecord | None:
    """Record the accuracy on the target's labelled samples of known classes; None where there are none."""
    rows = found.scored
    if probabilities is None or found.labels is None or not len(rows):
        return None
    right = int((probabilities[rows].argmax(axis=1) == found.labels[rows]).sum())
    return ScoreRecord(accuracy=right / len(rows), ci=wilson(right, len(rows)))


def target_record(found: OnTarget, adapted: TargetFindings) -> TargetRecord:
    """Record the diagnosis of the shift, the arms and the choice among them."""
    diagnosis = adapted.diagnosis
    arms = []
    choice = None
    if adapted.study is not None:
        arms = [_arm_record(one, adapted.opened.get(one.arm)) for one in adapted.study.arms]
        choice = adapted.study.choice.arm
    return TargetRecord(
        path=str(found.data.path),
        n=len(found.data),
        labelled=len(found.scored),
        new_classes=list(found.classes[found.known :]),
        missing_classes=list(found.missing),
        situation=diagnosis.situation,
        level=diagnosis.level,
        sentences=list(diagnosis.sentences),
        cannot_see=list(diagnosis.cannot_see),
        remedies=[
            RemedyRecord(arm=one.arm, action=one.action, reason=one.reason, source=one.source)
            for one in diagnosis.remedies
        ],
        arms=arms,
        choice=choice,
        reason=adapted.reason,
        folder=adapted.folder,
    )


def _arm_record(one: ArmResult, opened: Opened | None) -> TargetArmRecord:
    test = None
    if opened is not None:
        test = ScoreRecord(accuracy=opened.accuracy, ci=opened.ci)
    return TargetArmRecord(
        name=one.arm,
        term=ARMS[one.arm].term,
        reason=one.reason,
        estimated_accuracy=one.estimate,
        test=test,
    )


def source_task_record(found: Forgetting) -> SourceTaskRecord:
    """Record what the network knows of its first task, before and after each strategy."""
    return SourceTaskRecord(
        path=found.path,
        n=found.samples,
        classes=list(found.classes),
        before=_memory_record(None, found.before),
        after=[_memory_record(name, memory) for name, memory in found.after.items()],
        reason=found.reason,
    )


def _memory_record(strategy: str | None, memory: Memory) -> MemoryRecord:
    return MemoryRecord(strategy=strategy, head=_share_record(memory.head), probe=_share_record(memory.probe))


def _share_record(share: Share | None) -> ScoreRecord | None:
    if share is None:
        return None
    return ScoreRecord(accuracy=share.accuracy, ci=share.ci)
