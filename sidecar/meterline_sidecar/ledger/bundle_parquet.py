"""The archive's form for warehouses: Parquet with Zstandard.

Events are the rows, each column named as in the ledger. Batches, their links and their
losses stand in the file's own metadata, under the key ``meterline``, as the lines of
the plain form.
"""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.ledger.bundle_lines import (
    NEWLINE,
    BatchLine,
    EventLine,
    Line,
    batches_of,
    encode_line,
    lines_of,
    read_lines,
)
from meterline_sidecar.store.edge.parquet import read_parquet, write_parquet

SUFFIX: Final = ".parquet"
KEY: Final = "meterline"
TEXTS: Final = frozenset({"subject", "method", "route", "quantities", "properties"})
COLUMNS: Final = {
    name: "VARCHAR" if name in TEXTS else "BIGINT"
    for name in EventLine.__struct_fields__
}


def encode(bundle: Bundle) -> bytes:
    """Return a file; the same batches make the same one, by the same DuckDB.

    Raises:
        ArchiveFailed: it cannot be written, as where there is no room for it.
    """
    about: list[bytes] = []
    with _scratch() as folder:
        rows, target = Path(folder) / "events.jsonl", Path(folder) / "events.parquet"
        with rows.open("wb") as out:
            for line in lines_of(bundle):
                text = encode_line(line)
                if isinstance(line, EventLine):
                    out.write(text + NEWLINE)
                else:
                    about.append(text)
        told = NEWLINE.join(about).decode()
        write_parquet(rows, target, columns=COLUMNS, key=KEY, about=told)
        return target.read_bytes()


def decode(content: bytes) -> Bundle:
    """Return what a file holds.

    Raises:
        ArchiveFailed: it is no such file, or not all of it, or DuckDB is not there, or
            no room for what it reads.
    """
    with _scratch() as folder:
        path = Path(folder) / "events.parquet"
        path.write_bytes(content)
        rows, about = read_parquet(path, columns=COLUMNS, key=KEY)
    if about is None:
        raise ArchiveFailed("it says nothing of the batches that its events are of")
    return batches_of(_joined(read_lines(about), iter(rows)))


def _joined(lines: Iterator[Line], events: Iterator[tuple[Any, ...]]) -> Iterator[Line]:
    """Yield lines with the events of each batch behind it."""
    for line in lines:
        yield line
        if isinstance(line, BatchLine):
            yield from (EventLine(*row) for row in islice(events, line.events))
    if next(events, None) is not None:
        raise ArchiveFailed("events stand in it that are of no batch")


@contextmanager
def _scratch() -> Generator[str]:
    """Make a directory for what DuckDB reads or writes, and delete it afterwards.

    Raises:
        ArchiveFailed: it cannot be made, or what is put into it cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="meterline-archive-") as folder:
            yield folder
    except OSError as error:
        raise ArchiveFailed(
            "Parquet needs a directory for temporary files, with room for two files of"
            f" the archive (TMPDIR, or /tmp): {error.strerror or error}"
        ) from error
