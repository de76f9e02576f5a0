"""Files of events as lines of JSON: an event each, at the number that it has in its file.

JSON Lines are passed on as they are; rows of a table are turned into the same events. A
row that cannot be turned into one keeps its place, as a text that says why.
"""

import csv
import gzip
import importlib
import json
import os
import re
import stat
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import Any, BinaryIO, Final, NamedTuple, Self, cast

from meterline_pricing.errors import unknown
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.edge.parquet import read_rows

CHUNK_LINES: Final = 2_000
CHUNK_BYTES: Final = 900_000
"""The sidecar takes a MiB at once."""
NAME_CHARS: Final = 100  # of a file's, in that of an import
LINE_BYTES_MAX: Final = 64 << 10
"""The longest event has half of that."""
FIELDS: Final = (
    *("id", "source", "time", "subject", "kind", "method", "route", "status"),
    *("duration_us", "bytes_in", "bytes_out"),
)
GROUPS: Final = ("quantities", "properties")
NUMBERS: Final = frozenset(
    {"time", "status", "duration_us", "bytes_in", "bytes_out", "quantities"}
)
"""Where a text of digits is a number."""
SHAPES: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
PACKED: Final = (".gz", ".zst")
ZSTD: Final = "compression.zstd"  # of Python 3.14
UNREADABLE: Final = "unreadable: "
"""How a line begins that tells the sidecar why there is no event."""
UTF_8_MARK: Final = b"\xef\xbb\xbf"
UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
DIGITS: Final = re.compile(r"-?[0-9]{1,18}")
"""A whole number. With more digits it stays a text, which is judged as one."""


class BadFile(MeterlineError):
    """This is no file of events at all; the text says what was expected."""


class Chunk(NamedTuple):
    """Some lines in a row."""

    first_line: int
    text: bytes


def chunks_of(lines: Iterable[bytes]) -> Generator[Chunk]:
    """Yield lines in chunks: of the same lines always the same ones."""
    first_line, waiting, n_bytes = 1, list[bytes](), 0
    for line in lines:
        if len(waiting) == CHUNK_LINES or n_bytes + len(line) > CHUNK_BYTES:
            yield Chunk(first_line, b"\n".join(waiting) + b"\n")
            first_line, waiting, n_bytes = first_line + len(waiting), [], 0
        waiting.append(line)
        n_bytes += len(line) + 1
    if waiting:
        yield Chunk(first_line, b"\n".join(waiting) + b"\n")


def name_of(file: str, first: Chunk) -> str:
    """Return the name of an import that nobody named: of the file's, and its beginning."""
    kept = "".join(
        letter if letter.isalnum() or letter in "._-" else "_"
        for letter in file[:NAME_CHARS]
    )
    return f"{kept}-{blake2b(first.text, digest_size=4).hexdigest()}"


class EventFile:
    """A file of events, or standard input.

    Args:
        path: ``-`` is standard input.
        shape: ``jsonl``, ``csv`` or ``parquet``; by default as its name ends.
        given: what the file holds, where it is of another machine and ``path`` is only
            what it is called there.
        bytes_max: of its text, unpacked; 0: any.

    Raises:
        BadFile: it cannot be read as that.
    """

    def __init__(
        self,
        path: str,
        shape: str | None,
        *,
        given: BinaryIO | None = None,
        bytes_max: int = 0,
    ) -> None:
        self.path = path
        self.is_stdin = path == "-" and given is None
        self.name = "standard input" if self.is_stdin else Path(path).name
        self._open = ExitStack()
        self._given = given
        self._bytes_max = bytes_max
        self._raw: BinaryIO | None = None
        self.n_bytes = 0
        """How long the file is; 0 of standard input."""
        if not self.is_stdin and given is None:
            self.n_bytes = _size_of(path)
        self._shape = shape or self._shape_by_name()

    def __enter__(self) -> Self:
        """Return this file."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._open.close()

    @property
    def read_bytes(self) -> int:
        """How much of the file was read."""
        return 0 if self._raw is None else self._raw.tell()

    def lines(self) -> Iterator[bytes]:
        """Yield its lines without their ends, an empty one where there is no event.

        Raises:
            BadFile: it is no such file.
        """
        if self._shape == "parquet":
            if self.is_stdin or self._given is not None:
                how = "standard input" if self.is_stdin else "a form"
                raise BadFile(
                    f"Parquet is read from a file, not from {how}: `meterline import`"
                    " reads it"
                )
            return _of_rows(read_rows(Path(self.path)), self.name)
        file = _begun(self._unpacked(), self.name, self._bytes_max)
        return _of_table(file, self.name) if self._shape == "csv" else _of_text(file)

    def _shape_by_name(self) -> str:
        if self.is_stdin:
            return "jsonl"
        name = Path(self.name.lower())
        if name.suffix in PACKED:
            name = name.with_suffix("")
        if name.suffix not in SHAPES:
            raise BadFile(
                f"{self.path}: its name does not show its format; use --format jsonl,"
                " csv or parquet"
            )
        return SHAPES[name.suffix]

    def _unpacked(self) -> BinaryIO:
        if self.is_stdin:
            return sys.stdin.buffer
        raw = self._given
        if raw is None:
            raw = self._raw = _opened(self.path)
        self._open.callback(raw.close)
        match Path(self.name.lower()).suffix:
            case ".gz":
                return cast("BinaryIO", self._open.enter_context(gzip.open(raw)))
            case ".zst":
                if find_spec(ZSTD.partition(".")[0]) is None:
                    raise BadFile(
                        f"{self.path}: this Python does not read Zstandard (3.14 does);"
                        f" run: zstd -dc {quote(str(self.path))} | meterline import -"
                    )
                zstd: Any = importlib.import_module(ZSTD)
                opened: BinaryIO = self._open.enter_context(zstd.open(raw))
                return opened
            case _:
                return raw


def _size_of(path: str) -> int:
    """Return how long a file is.

    Raises:
        BadFile: it is none.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - an empty path is none here
    except FileNotFoundError as error:
        raise BadFile(f"there is no file {path or repr(path)}") from error
    except OSError as error:
        raise _kept_out(path, error) from error
    if stat.S_ISDIR(found.st_mode):
        raise BadFile(f"{path} is a directory; name one file of events")
    return found.st_size


def _opened(path: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise _kept_out(path, error) from error


def _kept_out(path: str, error: OSError) -> BadFile:
    return BadFile(f"{path}: {error.strerror}; name a file that you can read")


def _begun(file: BinaryIO, name: str, bytes_max: int) -> Iterator[bytes]:
    """Yield lines with their ends; what a text may begin with is taken off."""
    try:
        first = file.readline(LINE_BYTES_MAX + 1)
        if first.startswith(UTF_16_MARKS):
            raise BadFile(f"{name} is UTF-16; save it as UTF-8")
        yield from chain(
            [first.removeprefix(UTF_8_MARK)] if first else [],
            _rest(file, name, bytes_max),
        )
    except (OSError, EOFError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        raise BadFile(f"{name} cannot be unpacked: {error}") from error


def _rest(file: BinaryIO, name: str, bytes_max: int) -> Iterator[bytes]:
    n_bytes = 0
    while line := file.readline(LINE_BYTES_MAX + 1):
        n_bytes += len(line)
        if n_bytes > bytes_max > 0:
            raise BadFile(
                f"{name} has more than {bytes_max:,} bytes, unpacked; `meterline"
                " import`"
                " reads files of any length"
            )
        yield line


def _of_text(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yield lines of JSON; of one that is too long, what says so."""
    is_rest = False  # of a line that is too long
    is_first = True
    for line in lines:
        is_whole = line.endswith(b"\n")
        if is_first and line.lstrip().startswith(b"["):
            raise BadFile(
                "it begins as a list; write an event a line: jq -c '.[]' FILE"
            )
        is_first = False
        if not is_rest:
            is_long = not is_whole and len(line) > LINE_BYTES_MAX
            yield _too_long() if is_long else line.rstrip(b"\r\n")
        is_rest = not is_whole


def _too_long() -> bytes:
    return _unreadable(f"is longer than {LINE_BYTES_MAX:,} bytes")


def _of_table(lines: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Yield the events of a CSV file; a row of several lines is at its first one."""
    reader = csv.reader(_texts(lines, name), strict=True)
    header: list[tuple[str, ...]] | None = None
    while True:
        before = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            raise BadFile(f"{name}, line {reader.line_num}: {_why(error)}") from error
        if header is None and row:
            header = _header(row, name)
            row = []
        yield b"" if not row or header is None else _event_of(row, header)
        for _ in range(reader.line_num - before - 1):
            yield b""


def _why(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a line ends with a carriage return alone; save it with Unix line ends"
    return f'{error}; quote a cell with " and a quote in it with ""'


def _texts(lines: Iterator[bytes], name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > LINE_BYTES_MAX and not line.endswith(b"\n"):
            raise BadFile(
                f"{name}, line {number} is longer than {LINE_BYTES_MAX:,} bytes"
            )
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise BadFile(
                f"{name}, line {number} is not UTF-8: save the file as UTF-8"
            ) from error


def _header(row: Sequence[str], name: str) -> list[tuple[str, ...]]:
    """Return where in an event each column belongs.

    Raises:
        BadFile: a column is none of an event's, or there twice.
    """
    for mark, called in ((";", "semicolons"), ("\t", "tabs")):
        if len(row) == 1 and mark in row[0]:
            raise BadFile(
                f"{name}: its columns stand between {called}; save it with commas"
            )
    found: list[tuple[str, ...]] = []
    for column in (cell.strip() for cell in row):
        group, point, member = column.partition(".")
        if point and group in GROUPS and member:
            found.append((group, member))
        elif column in FIELDS:
            found.append((column,))
        else:
            known = [*FIELDS, *(f"{group}.NAME" for group in GROUPS)]
            raise BadFile(
                f"{name}: the first line names the columns;"
                f" {unknown('column', column[:50], known)}"
            )
        if found[-1] in found[:-1]:
            raise BadFile(f"{name}: column {column} is there twice")
    if ("id",) not in found or ("time",) not in found:
        raise BadFile(f"{name}: the first line must name the columns id and time")
    return found


def _event_of(row: Sequence[Any], header: Sequence[tuple[str, ...]]) -> bytes:
    if len(row) != len(header):
        return _unreadable(f"has {len(row)} cells, and the first line {len(header)}")
    event: dict[str, Any] = {}
    for where, cell in zip(header, row, strict=True):
        if cell is None or cell == "":
            continue
        value = _number(cell) if where[0] in NUMBERS else cell
        if len(where) == 1:
            event[where[0]] = value
        else:
            event.setdefault(where[0], {})[where[1]] = value
    return json.dumps(event, separators=(",", ":")).encode()


def _number(cell: Any) -> Any:
    is_number = isinstance(cell, str) and DIGITS.fullmatch(cell)
    return int(cell) if is_number else cell


def _of_rows(
    rows: Iterator[tuple[tuple[str, ...], tuple[Any, ...]]], name: str
) -> Iterator[bytes]:
    """Yield the events of a table's rows, each with the names of its columns."""
    header: list[tuple[str, ...]] | None = None
    for columns, row in rows:
        if header is None:
            header = _header(columns, name)
        yield _event_of(row, header)


def _unreadable(why: str) -> bytes:
    return json.dumps(UNREADABLE + why).encode()
