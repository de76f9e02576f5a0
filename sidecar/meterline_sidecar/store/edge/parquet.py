"""Parquet files with Zstandard, written and read by DuckDB, of the extra ``archive``.

DuckDB works on the file that it is given, in memory, and loads nothing from outside.
"""

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.errors import ArchiveFailed, installing

PACKAGE: Final = "duckdb"
ROWS_AT_ONCE: Final = 2_000
SETTINGS: Final[Mapping[str, Any]] = {
    "threads": 1,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def is_installed() -> bool:
    """Say whether DuckDB is there."""
    return find_spec(PACKAGE) is not None


def write_parquet(
    rows: Path, target: Path, *, columns: Mapping[str, str], key: str, about: str
) -> None:
    """Write a file from JSON Lines.

    Args:
        columns: the type of each, by name.
        key: under which ``about`` stands in the file's own metadata.

    Raises:
        ArchiveFailed: it cannot be written, as where there is no room for it.
    """
    types = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())
    _run(
        # DuckDB takes none of these as a parameter.
        f"COPY (SELECT {', '.join(columns)} FROM read_json({_quoted(str(rows))},"  # noqa: S608 - quoted
        f" format = 'newline_delimited', columns = {{{types}}}))"
        f" TO {_quoted(str(target))} (FORMAT parquet, COMPRESSION zstd,"
        f" KV_METADATA {{{key}: {_quoted(about)}}})"
    )


def read_parquet(
    path: Path, *, columns: Mapping[str, str], key: str
) -> tuple[list[tuple[Any, ...]], bytes | None]:
    """Return the rows of a file by their first column, and what stands under ``key``.

    Raises:
        ArchiveFailed: it is no such file.
    """
    source = _quoted(str(path))
    names = list(columns)
    rows = _run(
        f"SELECT {', '.join(names)} FROM read_parquet({source}) ORDER BY {names[0]}"  # noqa: S608 - quoted
    )
    found = _run(f"SELECT key, value FROM parquet_kv_metadata({source})")  # noqa: S608 - quoted
    about = [value for name, value in found if name == key.encode()]
    return rows, about[0] if len(about) == 1 else None


def read_rows(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[Any, ...]]]:
    """Yield the rows of any file, each with the names of its columns.

    Times are milliseconds since 1970, those without a zone in UTC; decimals are texts.

    Raises:
        ArchiveFailed: it is no such file.
    """
    source = _quoted(str(path))
    with _connected() as connection:
        described = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({source})")  # noqa: S608 - quoted
        columns = [(str(name), str(kind)) for name, kind, *_ in described.fetchall()]
        shown = ", ".join(_shown(name, kind) for name, kind in columns)
        found = connection.execute(f"SELECT {shown} FROM read_parquet({source})")  # noqa: S608 - quoted
        names = tuple(name for name, _ in columns)
        while rows := found.fetchmany(ROWS_AT_ONCE):
            for row in rows:
                yield names, row


def _shown(name: str, kind: str) -> str:
    column = '"' + name.replace('"', '""') + '"'
    if kind.startswith("TIMESTAMP"):
        return f"epoch_ms({column})"
    return f"{column}::VARCHAR" if kind.startswith("DECIMAL") else column


def _run(statement: str) -> list[tuple[Any, ...]]:
    with _connected() as connection:
        found: list[tuple[Any, ...]] = connection.execute(statement).fetchall()
    return found


@contextmanager
def _connected() -> Generator[Any]:
    if not is_installed():
        raise ArchiveFailed(
            f"it is Parquet, which DuckDB reads: {installing('archive')}"
        )
    duckdb: Any = import_module(PACKAGE)
    try:
        connection = duckdb.connect(":memory:", config=dict(SETTINGS))
        try:
            yield connection
        finally:
            connection.close()
    except duckdb.Error as error:
        # Behind the first line it shows our own statement.
        why = str(error).partition("\n")[0]
        raise ArchiveFailed(f"DuckDB: {why}") from error


def _quoted(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
