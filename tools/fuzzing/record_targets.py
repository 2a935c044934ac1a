"""Targets for what frostline wrote and reads again: RUN folders, what an interrupted run kept, the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from frostline.base.errors import FrostlineError
from tools.fuzzing.mutate import json_bytes, odd_bytes, odd_json
from tools.fuzzing.target import Target, WrongAnswerError, copy_valid, in_short, pick_file

RUN = "run"
OF_A_RUN = ("result.json", "trials.jsonl", "ledger.json", "samples.csv", "predictions.csv", "examples.json")
STUDIES = ("curve", "rank", "shift", "adapt", "pretrain")
KEY = "ab" + "0" * 62


def record_targets() -> tuple[Target, ...]:
    """What frostline wrote itself, perhaps on another machine, and what happened to it since."""
    return (
        Target(name="runs", prepare=_valid_run, write=_write_run, read=_read_run, seconds=20.0, megabytes=800.0),
        Target(name="studies", prepare=_valid_studies, write=_write_study, read=_read_study, seconds=20.0),
        Target(name="resumed", prepare=_valid_work, write=_write_work, read=_read_work, seconds=10.0),
        Target(name="store", prepare=_valid_store, write=_write_store, read=_read_store),
    )


def odd_file(random: Random, file: Path) -> None:
    """Change a file: the values of one that holds JSON, the bytes of any other."""
    data = file.read_bytes()
    if file.suffix == ".json" and random.random() < 0.85:
        file.write_bytes(json_bytes(random, odd_json(random, json.loads(data))))
    elif file.suffix == ".jsonl" and random.random() < 0.85:
        lines = data.splitlines()
        place = random.randrange(len(lines))
        lines[place] = json_bytes(random, odd_json(random, json.loads(lines[place])))
        file.write_bytes(b"\n".join(lines) + b"\n")
    else:
        file.write_bytes(odd_bytes(random, data))


def _valid_run(folder: Path) -> None:
    from tools.fuzzing.worlds import finished_run

    run = finished_run(folder.with_name("runs-run"))
    (folder / RUN).mkdir()
    for name in OF_A_RUN:
        shutil.copy(run / name, folder / RUN / name)
    (folder / RUN / "model").mkdir()
    shutil.copy(run / "model" / "recipe.json", folder / RUN / "model")
    shutil.copytree(folder / RUN, folder / "other")


def _write_run(random: Random, valid: Path, folder: Path) -> None:
    copy_valid(valid, folder)
    if random.random() < 0.6:
        file = folder / RUN / "result.json"
    else:
        file = pick_file(random, folder / RUN)
    if random.random() < 0.03:
        file.unlink()
    else:
        odd_file(random, file)


def _read_run(_valid: Path, folder: Path) -> str:
    run = folder / RUN
    readers: tuple[Callable[[Path], Any], ...] = (_shown, _reported, _compared, _replayed)
    return "\n".join(_answer(reader, run) for reader in readers)


def _answer(reader: Callable[[Path], Any], run: Path) -> str:
    try:
        return in_short(reader(run))
    except FrostlineError as error:
        return str(error)


def _shown(run: Path) -> None:
    from frostline.cli.show import show_verb

    show_verb(run)
    show_verb(run, json=True)
    show_verb(run, methods=True)


def _reported(run: Path) -> None:
    from frostline.cli.report import report_verb

    report_verb(run)


def _compared(run: Path) -> None:
    from frostline.cli.compare import compare_verb

    compare_verb([run, run.with_name("other")], out=run.parent / "page.html")


def _replayed(run: Path) -> Any:
    """What `frostline replay` reads before it trains."""
    from frostline.bundle.origin import code_hash, code_siblings, fit_command, read_samples, recorded_settings
    from frostline.bundle.runfolder import read_result
    from frostline.planning.sources import entries_of
    from frostline.report.changes import environment_changes, overruled
    from frostline.report.differences import compare_runs, difference_lines

    result = read_result(run)
    settings = recorded_settings(run, result)
    other = run.with_name("other")
    found = compare_runs(run, other, (result, read_result(other)), except_=())
    said = (len(entries_of(settings)), environment_changes(result), overruled(result), difference_lines(found))
    return fit_command(settings), len(read_samples(run)), code_hash(run), code_siblings(run), said


def _valid_studies(folder: Path) -> None:
    from tools.fuzzing.worlds import finished_run, studies

    scratch = folder.with_name("studies-run")
    run = finished_run(scratch)
    made = folder.with_name("studies-made")
    studies(made, run)
    for name in STUDIES:
        (folder / name).mkdir()
        for file in (made / name).glob("*.json"):
            shutil.copy(file, folder / name / file.name)


def _write_study(random: Random, valid: Path, folder: Path) -> None:
    name = random.choice(STUDIES)
    shutil.copytree(valid / name, folder / name)
    odd_file(random, pick_file(random, folder / name))


def _read_study(_valid: Path, folder: Path) -> str:
    from frostline.cli.show import show_verb

    (run,) = folder.iterdir()
    show_verb(run)
    show_verb(run, json=True)
    return ""


def _valid_work(folder: Path) -> None:
    from frostline import fit, pretrain_network, rank_sources
    from tools.fuzzing.worlds import after, images, interrupted

    data = images(folder.with_name("resumed-data"))
    with interrupted():
        fit(
            data,
            model="glyphs",
            strategies="baseline,probe,finetune",
            epochs=2,
            out=folder / "fit",
            store="off",
            emit=after("trial", 4),
        )
    with interrupted():
        pretrain_network(data, "glyphs", epochs=3, out=folder / "pretrain", emit=after("reading", 3))
    with interrupted():
        rank_sources(data, "glyphs,glyphs=random", out=folder / "rank", emit=after("ranked", 1))


def _write_work(random: Random, valid: Path, folder: Path) -> None:
    copy_valid(valid, folder)
    if random.random() < 0.4:
        odd_file(random, folder / "pretrain" / ".work" / "checkpoint.safetensors")
    else:
        odd_file(random, pick_file(random, folder, "**/.work/**/*.json"))


def _read_work(valid: Path, folder: Path) -> str:
    from frostline.base import lock
    from frostline.bundle.runfolder import RunFolder, open_run, outcome_from
    from frostline.pretrain.loop import state_from
    from frostline.rank.folder import load_source
    from frostline.train.checkpoint import read_checkpoint

    said = []
    for file in sorted((valid / "fit" / ".work" / "outcomes").iterdir()):
        whole = outcome_from(json.loads(file.read_text())["outcome"])
        found = RunFolder(folder / "fit").load_outcome(whole.key)
        if found is not None and repr(found) != repr(whole):
            raise WrongAnswerError("took an outcome that had changed")
        said.append(str(found is None))
    for file in (valid / "rank" / ".work" / "sources").iterdir():
        print_of = json.loads(file.read_text())["value"]["record"]["fingerprint"]
        places = (RunFolder(valid / "rank"), RunFolder(folder / "rank"))
        source, changed = (load_source(place, file.stem, print_of) for place in places)
        if changed is not None and repr(changed) != repr(source):
            raise WrongAnswerError("took a ranked source that had changed")
        said.append(str(changed is None))
    checkpoint = read_checkpoint(folder / "pretrain" / ".work" / "checkpoint.safetensors")
    if checkpoint is not None:
        tensors, note = checkpoint
        whole_tensors, whole_note = read_checkpoint(valid / "pretrain" / ".work" / "checkpoint.safetensors") or ({}, {})
        if repr(state_from(note)) != repr(state_from(whole_note)) or not _same(tensors, whole_tensors):
            raise WrongAnswerError("took a checkpoint that had changed")
    for name in ("fit", "pretrain"):
        study = json.loads((valid / name / ".work" / "study.json").read_text())
        try:
            open_run(folder / name, study["settings"], inputs=study["inputs"], resume=True)
        except FrostlineError as error:
            said.append(str(error))
        finally:
            lock.release(folder / name / ".work")
    return "\n".join(said)


def _same(a: Any, b: Any) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k].numpy(), b[k].numpy(), equal_nan=True) for k in a)


def _valid_store(folder: Path) -> None:
    import torch

    from frostline.features.store import Store

    with Store(folder).writer(KEY) as append:
        for start in (0, 4):
            rows = torch.arange(start * 12, (start + 4) * 12, dtype=torch.float32).view(4, 3, 2, 2)
            append(rows.contiguous(memory_format=torch.channels_last))


def _write_store(random: Random, valid: Path, folder: Path) -> None:
    copy_valid(valid, folder)
    odd_file(random, pick_file(random, folder))


def _read_store(valid: Path, folder: Path) -> str:
    import torch

    from frostline.features.store import Store

    index = torch.arange(8)
    whole = Store(valid).get(KEY)
    assert whole is not None
    found = Store(folder).get(KEY)
    if found is None:
        return "none"
    rows = found.rows(index)
    wanted = whole.rows(index)
    if not torch.equal(rows, wanted) or rows.stride() != wanted.stride():
        raise WrongAnswerError("took an entry that had changed")
    return "the entry"
