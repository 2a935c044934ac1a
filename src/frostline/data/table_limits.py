"""How large a table may be: what a few kilobytes claim to hold must not fill the memory before it can be refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frostline.base.errors import DataError
from frostline.base.memory import memory_there

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LONGEST_LINE = 1 << 24  # bytes; a longer cell than this isn't read either
BLOCK = 1 << 20
TIMES = 8  # as many bytes does a row take once its cells are texts of their own
BATCH_BYTES = 1 << 28
FREE_BYTES = 1 << 28  # which any table may unpack to
MOST_TIMES = 200  # that one may unpack to its own size; texts shrink to a tenth, images hardly
MOST_ROWS = 1 << 16  # in a batch
SPLIT = "Give it in several tables, or keep images and long texts in files of their own."


def check_size(path: Path, times: int = TIMES) -> None:
    """Raise DataError for a file that doesn't fit in memory where each of its bytes takes `times` as many."""
    size = path.stat().st_size
    if size * times > memory_there():
        raise DataError(f"{path} has {size:,} bytes, too many to be read in this machine's memory.", SPLIT)


def check_lines(path: Path) -> None:
    """Raise DataError for a file with a line that is longer than any row of a table, before the whole is read."""
    check_size(path)
    if path.stat().st_size <= LONGEST_LINE:
        return
    line = 1
    length = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            ends = block.count(b"\n") or block.count(b"\r")  # old spreadsheets end lines so
            if ends:
                line += ends
                length = len(block) - 1 - max(block.rfind(b"\n"), block.rfind(b"\r"))
            else:
                length += len(block)
            if length > LONGEST_LINE:
                raise DataError(f"Line {line:,} of {path} is longer than {LONGEST_LINE:,} bytes.", SPLIT)


def check_parquet(path: Path, columns: Sequence[str]) -> None:
    """Raise DataError for a Parquet file whose columns wouldn't fit in memory, or are far larger than it.

    What they unpack to stands in the file. Where values are stored once and named over and over, it doesn't: then the
    cells are counted in small batches, which are thrown away.
    """
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        room = min(memory_there() // 2, max(FREE_BYTES, MOST_TIMES * path.stat().st_size))
        unpacked = 0
        repeated: dict[str, int] = {}  # by column: bytes of its largest piece
        for chunk in _column_pieces(file, columns):
            unpacked += chunk.total_uncompressed_size
            if any("DICTIONARY" in encoding for encoding in chunk.encodings):
                name = chunk.path_in_schema.partition(".")[0]
                repeated[name] = max(repeated.get(name, 1), chunk.total_uncompressed_size)
        largest_piece = max(
            (chunk.total_uncompressed_size for chunk in _column_pieces(file)), default=0
        )  # of any column
        if max(unpacked, largest_piece) > room:
            raise _too_large(path, max(unpacked, largest_piece))
        for name, largest in repeated.items():
            if largest * file.metadata.num_rows > room:
                unpacked += _bytes_of(file, name, room)
            if unpacked > room:
                raise _too_large(path, unpacked)


def rows_at_once(file: pq.ParquetFile, name: str) -> int:
    """Return how many rows of a column may be read at once: a cell is at most as large as the piece that it lies in."""
    largest = max((chunk.total_uncompressed_size for chunk in _column_pieces(file, (name,))), default=1)
    return max(1, min(MOST_ROWS, BATCH_BYTES // max(1, largest)))


def _column_pieces(file: pq.ParquetFile, columns: Sequence[str] | None = None) -> list[Any]:
    """Return the pieces of these columns, or of all."""
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    chunks = [group.column(k) for group in groups for k in range(group.num_columns)]
    return [chunk for chunk in chunks if columns is None or chunk.path_in_schema.partition(".")[0] in columns]


def _bytes_of(file: pq.ParquetFile, name: str, room: int) -> int:
    """Return the bytes of a column's cells, or what is counted by the time they exceed `room`."""
    import pyarrow as pa

    total = 0
    for batch in file.iter_batches(batch_size=rows_at_once(file, name), columns=[name]):
        cells = batch.column(0)
        if pa.types.is_dictionary(cells.type):  # they become texts of their own
            cells = cells.dictionary_decode()
        total += cells.nbytes
        if total > room:
            break
    return total


def _too_large(path: Path, size: int) -> DataError:
    held = path.stat().st_size
    return DataError(f"{path} has {held:,} bytes and unpacks to {size:,} or more, which isn't read.", SPLIT)
