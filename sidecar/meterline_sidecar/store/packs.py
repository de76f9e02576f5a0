"""How plain events lie in a pack: column by column, each compressed by itself.

Of a column first come the lowest bytes of all its numbers, then the next ones, and so on:
most of these are alike, and compress to nothing. Of one whose numbers are all the same
there is that number alone. Whoever looks at few columns has few of them read. All of it is
done by a few calls that run over whole columns.

Packs of earlier forms are read as well, and never written anew: those where equal numbers
are written out, and a line of decimal digits to each event, of which all first digits come
first.
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
COMPRESSED: Final = (1, zlib.DEFLATED, 13)
"""Level 1 takes a fifth of the time of the usual one, for a seventh more room; and of few
events much of it is to make room for the usual 32 KiB of what was before."""
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
    columns: list[int | tuple[int, bytes] | None]
    """Of each the bytes of a number, and all of them, compressed; or the one number that
    they all are; or nothing, where they count from 0 on."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode


def pack(columns: Sequence[Sequence[int]]) -> bytes:
    """Return a pack of events in the order of their ids, given column by column.

    What is written is read back, as far as numbers lie in a row of bytes.

    Raises:
        BadPack: they are not in order, hold what no pack can hold, or do not read as they
            were written.
    """
    ids = columns[0]
    if len(ids) > IDS_MAX or not (isinstance(ids, range) or _is_in_order(ids)):
        raise BadPack("events are too many, or not in order")
    if ids and ids[0] == 0 and ids[-1] == len(ids) - 1:
        ids = range(len(ids))
    try:
        written = [
            _column(numbers, 10**digits - 1)
            for numbers, digits in zip(
                (ids, *columns[1:]), DIGITS.values(), strict=True
            )
        ]
    except OverflowError as error:
        raise BadPack(f"a number does not fit into a pack: {error}") from error
    return _encode(_Written(len(ids), written))


def _is_in_order(ids: Sequence[int]) -> bool:
    return list(ids) == sorted(set(ids))


def _column(numbers: Sequence[int], largest: int) -> int | tuple[int, bytes] | None:
    """Return a column as it is written.

    Raises:
        OverflowError: one of the numbers is below 0, or above the largest.
        BadPack: it does not read as it was written.
    """
    if numbers == range(len(numbers)):
        return None
    first = numbers[0] if numbers else 0
    if numbers.count(first) == len(numbers):
        if not 0 <= first <= largest:
            raise OverflowError(f"{first} is not from 0 to {largest}")
        return first
    try:
        laid = array("I", numbers)  # twice as fast as the others
    except OverflowError:
        laid = array("Q", numbers)
    if IS_SWAPPED:
        laid.byteswap()
    raw, size = laid.tobytes(), laid.itemsize
    apart = [raw[i::size] for i in range(size)]
    while apart[-1].count(0) == len(numbers):
        apart.pop()
    wide = len(apart)
    if 256**wide > largest and (found := max(numbers)) > largest:
        raise OverflowError(f"{found} is more than {largest}")
    compressor = zlib.compressobj(*COMPRESSED)
    compressed = compressor.compress(b"".join(apart)) + compressor.flush()
    if _laid_out(wide, compressed, len(numbers), size) != raw:
        raise BadPack("a pack does not read as it was written")
    return wide, compressed


def _laid_out(wide: int, compressed: bytes, count: int, size: int) -> bytes:
    """Return the numbers of a column one behind the other, each in so many bytes.

    Raises:
        BadPack: it is no column of so many numbers.
    """
    read = _decompressed(compressed, wide * count)
    if len(read) != wide * count:
        raise BadPack("a column of a pack is too short")
    if wide == size == 1:
        return read
    raw = bytearray(size * count)
    for i in range(wide):
        raw[i::size] = read[i * count : (i + 1) * count]
    return bytes(raw)


class Pack:
    """A pack that is read column by column, each when it is first asked for.

    Raises:
        BadPack: it is none; also where a column is asked for.
    """

    def __init__(self, body: bytes) -> None:
        self._read: dict[str, Sequence[int]] = {}
        self._lines: bytes | None = None
        self._columns: list[int | tuple[int, bytes] | None] = []
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

    def __getitem__(self, name: str) -> Sequence[int]:
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

    def _of_column(self, name: str) -> Sequence[int]:
        column = self._columns[PLACE[name]]
        if column is None:
            return range(self.count)
        if isinstance(column, int):
            return [column] * self.count
        wide, compressed = column
        if not 0 <= wide <= CODES[-1][0]:
            raise BadPack("a pack is of something else")
        size, code = next((size, code) for size, code in CODES if size >= wide)
        raw = _laid_out(wide, compressed, self.count, size)
        if size == 1:
            return list(raw)
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
