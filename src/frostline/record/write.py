"""Writes the files of a finished run: its record, and the files that the record names."""

from __future__ import annotations

import datetime
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from frostline.base.device import machine
from frostline.base.files import write_atomic
from frostline.base.memory import allowed_memory, anonymous_mb, peak_rss_mb
from frostline.base.records import AuditCount
from frostline.base.version import VERSION
from frostline.bundle import schema
from frostline.bundle.card import model_card
from frostline.bundle.further_schema import TargetRecord
from frostline.bundle.runfolder import (
    RunFolder,
    hashes,
    write_oof,
    write_predictions,
    write_samples,
    write_trials,
    write_value,
)
from frostline.bundle.schema import RunResult
from frostline.data.contract import Samples
from frostline.recipe.settings import Settings
from frostline.record import compose
from frostline.record.calibration import abstain_record, calibration_record
from frostline.record.compose import doubts_csv, doubts_record
from frostline.record.curve import curve_record
from frostline.record.elsewhere import source_task_record, target_record
from frostline.record.evidence import Evidence
from frostline.record.examples import examples
from frostline.record.facts import facts_of
from frostline.record.journal import Journal
from frostline.record.methods import with_methods
from frostline.record.strategies import forecast_record, pair_records, strategy_records
from frostline.train.refit import RefitResult
from frostline.train.study import Study


@dataclass(frozen=True)
class RunWriter:
    """Writes all files of the RUN folder; result.json last, so that a folder with it is complete."""

    folder: RunFolder
    settings: Settings
    study: Study  # of the network that the verdict starts from
    sealed: Samples  # as that network reads them
    evidence: Evidence
    journal: Journal
    main: Study  # of the first source, with the others; the same study where there is only one

    @property
    def chosen(self) -> RefitResult:
        """The refit of the verdict's strategy."""
        return self.evidence.refits[self.evidence.verdict.strategy]

    def write(self) -> RunResult:
        """Write all files and return the record."""
        path = self.folder.path
        dataset = self.study.dataset
        evidence = self.evidence
        ids = [s.id for s in dataset.samples]
        write_value(path / "ledger.json", self.chosen.ledger)
        write_trials(path / "trials.jsonl", evidence.outcomes)
        write_oof(path / "oof.parquet", evidence.outcomes, ids, dataset.classes)
        write_atomic(path / "moments.safetensors", moments(self.study))
        write_samples(path / "samples.csv", dataset, evidence.plan.race_blocks())
        probabilities = evidence.tests[evidence.verdict.strategy]
        labels = [int(label) for label in dataset.labels[dataset.sealed]]
        sealed_ids = [ids[i] for i in dataset.sealed]
        write_predictions(path / "predictions.csv", sealed_ids, labels, probabilities, dataset.classes)
        write_value(path / "examples.json", examples(self.study, self.sealed, probabilities, evidence.doubts))
        if evidence.doubts:
            write_atomic(path / "doubts.csv", doubts_csv(evidence.doubts))
        result = with_methods(self.compose(), facts_of(self.study, self.chosen))
        write_atomic(path / "model" / "README.md", model_card(result).encode())
        self.folder.close(result)
        return result

    def compose(self) -> RunResult:
        """Compose the record, without its methods paragraph."""
        study = self.study
        evidence = self.evidence
        labels = study.dataset.labels[study.dataset.sealed]
        chosen = evidence.verdict.strategy
        return RunResult(
            version=VERSION,
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            command=" ".join(sys.argv),
            seed=self.settings.seed,
            machine={**machine(), **asdict(study.compute)},
            packages=dict(evidence.packages),
            settings=self.settings.identity(),
            data=compose.data_record(study.dataset, study.features.source.images),
            model=compose.model_record(study, evidence.plan.scale_of(self.chosen.saved.recipe)),
            sources=compose.source_records(self.main, evidence.plan),
            blocks=compose.block_records(evidence.plan),
            strategies=strategy_records(evidence, labels),
            pairs=pair_records(evidence),
            verdict=compose.verdict_record(evidence.verdict),
            test=compose.sealed_record(evidence.tests[chosen], labels, study.dataset.classes),
            audit=compose.audit_record(self._audit()),
            cost=self._cost(),
            budget=evidence.budget,
            concluded=list(evidence.concluded) if evidence.concluded is not None else None,
            forecast=forecast_record(evidence),
            calibration=calibration_record(evidence.calibration, evidence.tests[chosen], labels),
            abstain=abstain_record(evidence.calibration, evidence.tests[chosen], labels),
            doubts=doubts_record(evidence.doubts) if evidence.doubts else None,
            learning_curve=curve_record(evidence.learning) if evidence.learning else None,
            target=self._target(),
            source_task=source_task_record(evidence.forgetting) if evidence.forgetting else None,
            files=hashes(self.folder.path),
        )

    def _target(self) -> TargetRecord | None:
        """Record what was found on the target; None without one."""
        evidence = self.evidence
        if evidence.on_target is None or evidence.adapted is None:
            return None
        return target_record(evidence.on_target, evidence.adapted)

    def _audit(self) -> AuditCount:
        """Sum the audits of all trials and refits."""
        counts = [o.audit for o in self.evidence.outcomes] + [f.audit for f in self.evidence.refits.values()]
        return sum(counts, AuditCount())

    def _cost(self) -> schema.CostRecord:
        features = [one.features for one in self.main.every()]
        store = self.study.features.store
        seconds = sum(f.prefix_seconds for f in features)
        return schema.CostRecord(
            seconds=time.perf_counter() - self.journal.started,
            phases=[schema.PhaseRecord(name=name, seconds=spent) for name, spent in self._phases()],
            prefix_seconds=seconds,
            store_mb=store.bytes_used() / 1e6 if store else 0.0,
            peak_rss_mb=peak_rss_mb(),
            peak_anonymous_mb=max(self.journal.peak_anonymous_mb, anonymous_mb()),
            max_memory_mb=allowed_memory(self.settings.max_memory) / (1 << 20),
            images_per_second=sum(f.prefix_images for f in features) / seconds if seconds else 0.0,
        )

    def _phases(self) -> list[tuple[str, float]]:
        """Return the journal's phases, with the long ones divided by what they did."""
        tuning = sum(o.seconds for o in self.evidence.race.outcomes if o.purpose == "tune")
        views = sum(one.features.view_seconds for one in self.main.every())
        parts = {"compute features": ("make views", views, "frozen prefix"), "race": ("tune rates", tuning, "blocks")}
        phases: list[tuple[str, float]] = []
        for name, spent in self.journal.phases:
            if name not in parts:
                phases.append((name, spent))
                continue
            first, seconds, rest = parts[name]
            seconds = min(seconds, spent)  # a resumed run read some from the disk
            phases += [(first, seconds), (rest, spent - seconds)]
        return phases


def moments(study: Study) -> bytes:
    """Return moments.safetensors: mean (D) and covariance (D, D) of each cut's pooled features, of development rows."""
    from safetensors.torch import save

    tensors = {}
    for stage in sorted(study.features.pooled_stages):
        values = study.features.pooled(stage, 0).double()
        name = study.stages[stage].name
        tensors[f"{name}.mean"] = values.mean(0).float()
        tensors[f"{name}.covariance"] = torch.from_numpy(np.atleast_2d(np.cov(values.numpy(), rowvar=False))).float()
    return bytes(save(tensors))
