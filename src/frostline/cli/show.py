"""`frostline show`: the result of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from frostline.base.errors import shown_from
from frostline.base.terminal import harmless_values
from frostline.cli import options as o
from frostline.cli.screen import print_json, print_text, stdout_width

if TYPE_CHECKING:
    from frostline.bundle.pretrain_record import PretrainResult
    from frostline.bundle.schema import MethodsRecord, RunResult

MethodsOption = Annotated[
    bool, o.flag_option(o.OUTPUT_PANEL, "--methods", "Show the methods paragraph for a paper, with terms and sources.")
]


def show_verb(run: o.RunArgument, methods: MethodsOption = False, json: o.JsonOption = False) -> None:
    """Show the result of a RUN folder: verdict, table, evidence; of curves, rankings and the like their table."""
    with shown_from(run):
        _show_folder(run, methods=methods, json=json)


def _show_folder(run: Path, *, methods: bool, json: bool) -> None:
    from frostline.bundle.pretrain_record import read_pretrained
    from frostline.bundle.runfolder import read_result

    pretrained = read_pretrained(run)
    if pretrained is not None and not methods:
        show_pretrained(pretrained, json=json)
        return
    for name, show in STUDIES.items():
        if (run / name).is_file() and not methods:
            show(run, json=json)
            return
    result = read_result(run)
    if methods:
        show_methods(result, json=json)
        return
    values = result.model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
        return
    from frostline.report.tables import result_text

    print_text(result_text(harmless_values(values), stdout_width()))


def show_pretrained(record: PretrainResult, *, json: bool) -> None:
    """Print what a network learnt without labels, or its record as JSON."""
    from frostline.report.pretrained import pretrained_text

    values = record.model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    else:
        print_text(pretrained_text(harmless_values(values), stdout_width()))


def show_curve(run: Path, *, json: bool) -> None:
    """Print a transferability curve, or its record as JSON."""
    from frostline.bundle.curve_record import read_curve
    from frostline.report.curve import transfer_text

    values = read_curve(run).model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    else:
        print_text(transfer_text(harmless_values(values), stdout_width(), run))


def show_ranking(run: Path, *, json: bool) -> None:
    """Print a ranking of sources, or its record as JSON."""
    from frostline.rank.folder import read_ranking
    from frostline.report.rank import rank_text

    values = read_ranking(run / "rank.json").model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    else:
        print_text(rank_text(harmless_values(values), run, stdout_width()))


def show_adapted(run: Path, *, json: bool) -> None:
    """Print an adaptation to other data, or its record as JSON."""
    from frostline.bundle.adapt_record import read_adapted
    from frostline.report.adapt import adapt_text

    values = read_adapted(run).model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    else:
        print_text(adapt_text(harmless_values(values), run, stdout_width()))


def show_shift(run: Path, *, json: bool) -> None:
    """Print how two data sets differ, or the record as JSON."""
    from frostline.bundle.shift_record import read_shift
    from frostline.report.shift import shift_text

    values = read_shift(run).model_dump(mode="json", by_alias=True)
    if json:
        print_json(values)
    else:
        print_text(shift_text(harmless_values(values), run, stdout_width()))


STUDIES = {
    "curve.json": show_curve,
    "rank.json": show_ranking,
    "adapt.json": show_adapted,
    "shift.json": show_shift,
}  # the record that a folder of each kind holds


def show_methods(result: RunResult, *, json: bool) -> None:
    """Print the methods paragraph, or its record as JSON. Raises BundleError for a record without one."""
    from frostline.base.errors import BundleError
    from frostline.report.tables import methods_text

    methods: MethodsRecord | None = result.methods
    if methods is None:
        raise BundleError("This run has no methods paragraph.", "Run frostline fit again with this version.")
    if json:
        print_json(methods.model_dump(mode="json"))
    else:
        print_text(methods_text(methods, stdout_width()))
