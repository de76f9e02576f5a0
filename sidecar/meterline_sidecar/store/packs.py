"""How plain events lie in a pack: column by column, each compressed by itself.

Of a column first come the lowest bytes of all its numbers, then the next ones, and so on:
most of these are alike, and compress to nothing. Whoever looks at few columns has few of
them read. All of it is done by a few calls that run over whole columns.

Packs of an earlier form are read as well, and never written anew: a line of decimal digits
to each event, of which all first digits come first.
"""

import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal

import msgspec

IDS_MAX: Final = 16_384
"""How many ids a pack is of: reading all of them takes some milliseconds."""
DIGITS: Final[Mapping[str, int]] = {
    "id": 5,  # counted from the first of the pack
    "producer_id": 6,
    "seq": 10,
    "time_ms": 13,
    "kind": 2,
    "subject_id": 8,
    "endpoint_id": 6,
    "status": 3,
    "duration_us": 9,
    "bytes_in": 9,
    "bytes_out": 10,
    "flags": 5,
}
"""The columns, in order, and how many digits the numbers in each have at most; an event
with a longer number is not packed. What is written stays readable: this changes with a
migration only."""
NAMES: Final = tuple(DIGITS)
PLACE: Final = {name: place for place, name in enumerate(NAMES)}
WIDTH: Final = sum(DIGITS.values())
LEVEL: Final = 1  # a fifth of the time of the usual level, for a seventh more room
LINES: Final = b"\x78"
"""How a pack of lines begins, as all that zlib has compressed."""
CODES: Final[tuple[tuple[int, Literal["B", "H", "I", "Q"]], ...]] = (
    (1, "B"),
    (2, "H"),
    (4, "I"),
    (8, "Q"),
)
"""Arrays by the bytes of their numbers."""
IS_SWAPPED: Final = sys.byteorder == "big"
KEPT: Final = 2  # some megabytes each


class BadPack(ValueError):
    """What should be a pack is none."""


class _Written(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    count: int
    columns: list[tuple[int, bytes]]
    """Of each the bytes of a number, and all of them, compressed."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode


def pack(columns: Sequence[Sequence[int]]) -> bytes:
    """Return a pack of events in the order of their ids, given column by column.

    Raises:
        BadPack: they are not in order, hold what no pack can hold, or do not read as they
            were written.
    """
    ids = columns[0]
    if list(ids) != sorted(ids) or len(ids) > IDS_MAX:
        raise BadPack("events are too many, or not in order")
    try:
        body = _encode(_Written(len(ids), [_column(numbers) for numbers in columns]))
    except OverflowError as error:
        raise BadPack(f"a number does not fit into a pack: {error}") from error
    written = Pack(body)
    if [written[name] for name in NAMES] != [list(numbers) for numbers in columns]:
        raise BadPack("a pack does not read as it was written")
    return body


def _column(numbers: Sequence[int]) -> tuple[int, bytes]:
    wide = (max(numbers, default=0).bit_length() + 7) // 8
    size, code = next((size, code) for size, code in CODES if size >= wide)
    laid = array(code, numbers)
    if IS_SWAPPED:
        laid.byteswap()
    raw = laid.tobytes()
    return wide, zlib.compress(b"".join([raw[i::size] for i in range(wide)]), LEVEL)


class Pack:
    """A pack that is read column by column, each when it is first asked for.

    Raises:
        BadPack: it is none; also where a column is asked for.
    """

    def __init__(self, body: bytes) -> None:
        self._read: dict[str, list[int]] = {}
        self._lines: bytes | None = None
        self._columns: list[tuple[int, bytes]] = []
        if body.startswith(LINES):
            lines = self._lines = _decompressed(body, WIDTH * IDS_MAX)
            if len(lines) % WIDTH or (lines and not lines.isdigit()):
                raise BadPack("a pack is cut off, or of something else")
            self.count = len(lines) // WIDTH
            return
        try:
            written = _decode(body)
        except msgspec.MsgspecError as error:
            raise BadPack(f"a pack cannot be read: {error}") from error
        self.count, self._columns = written.count, written.columns
        if len(self._columns) != len(NAMES) or not 0 <= self.count <= IDS_MAX:
            raise BadPack("a pack is of something else")

    def __getitem__(self, name: str) -> list[int]:
        """Return the numbers of a column."""
        found = self._read.get(name)
        if found is None:
            lines = self._lines
            found = self._of_column(name) if lines is None else self._of(lines, name)
            self._read[name] = found
        return found

    def between(self, first: int, last: int) -> slice:
        """Return where the events lie whose ids, counted from the first, are between."""
        ids = self["id"]
        return slice(bisect_left(ids, first), bisect_right(ids, last))

    def _of_column(self, name: str) -> list[int]:
        wide, compressed = self._columns[PLACE[name]]
        if not 0 <= wide <= CODES[-1][0]:
            raise BadPack("a pack is of something else")
        read = _decompressed(compressed, wide * self.count)
        if len(read) != wide * self.count:
            raise BadPack("a column of a pack is too short")
        if wide <= 1:
            return list(read) if wide else [0] * self.count
        size, code = next((size, code) for size, code in CODES if size >= wide)
        raw = bytearray(size * self.count)
        for i in range(wide):
            raw[i::size] = read[i * self.count : (i + 1) * self.count]
        laid: array[int] = array(code)
        laid.frombytes(raw)
        if IS_SWAPPED:
            laid.byteswap()
        return laid.tolist()

    def _of(self, lines: bytes, name: str) -> list[int]:
        wide = DIGITS[name]
        before = sum(DIGITS[other] for other in NAMES[: PLACE[name]])
        apart = bytearray((b"0" * wide + b" ") * self.count)
        for i in range(wide):
            start = (before + i) * self.count
            apart[i :: wide + 1] = lines[start : start + self.count]
        return list(map(int, bytes(apart).split()))


def _decompressed(compressed: bytes, bytes_max: int) -> bytes:
    reader = zlib.decompressobj()
    try:
        read = reader.decompress(compressed, bytes_max + 1)
    except zlib.error as error:
        raise BadPack(f"a pack cannot be read: {error}") from error
    if not reader.eof or reader.unused_data or len(read) > bytes_max:
        raise BadPack("a pack is cut off, or of something else")
    return read


opened = lru_cache(maxsize=KEPT)(Pack)
"""Returns a pack; the last ones are kept, as what is asked for next may be of them."""


def unpack(body: bytes, first: int, last: int, names: str, subjects: str | None) -> str:
    """Return events for a statement, as a JSON array of lines of digits, in order.

    Args:
        first, last: of which ids, both included, counted from the pack's first.
        names: the columns that a line is of, with commas between.
        subjects: a JSON array of the subjects that are looked for; ``None``: all.

    Raises:
        BadPack: it is none.
    """
    read, listed = opened(body), names.split(",")
    columns = [read[name] for name in listed]
    part = read.between(first, last)
    form = "".join([f"%0{DIGITS[name]}d" for name in listed])
    if subjects is None:
        rows = zip(*[column[part] for column in columns], strict=True)
    else:
        wanted = set(msgspec.json.decode(subjects, type=list[int]))
        of = enumerate(read["subject_id"][part], part.start)
        found = [i for i, subject_id in of if subject_id in wanted]
        rows = zip(*[[column[i] for i in found] for column in columns], strict=True)
    lines = [form % row for row in rows]
    return '["' + '","'.join(lines) + '"]' if lines else "[]"
