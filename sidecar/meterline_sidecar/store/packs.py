"""How events lie in a pack: column by column, each compressed by itself.

Whoever looks at few columns has few of them read (``pack_columns``). Texts are taken apart
first (``shapes``): each kind of them lies there once, and their numbers are columns.

Packs of earlier forms are read as well, and never written anew: those where equal numbers
are written out, and a line of decimal digits to each event, of which all first digits come
first.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import lru_cache
from itertools import compress, islice, repeat
from operator import lt
from typing import Final, TypeVar

import msgspec

from meterline_sidecar.store.pack_columns import (
    BadPack,
    Column,
    column_of,
    compressed,
    decompressed,
    numbers_of,
)
from meterline_sidecar.store.shapes import NUMBER_MAX, apart, together

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
TEXTS: Final = ("quantities", "properties")
"""The columns behind them, of texts; ``None`` where an event has none."""
KINDS_BYTES_MAX: Final = 32 << 20
"""What all kinds of text in a column come to at most, as they are before they are
compressed."""
INDENT: Final = '["'
"""What stands before the line of an event that has texts, and two blanks before others."""
PLACE: Final = {name: place for place, name in enumerate(NAMES)}
WIDTH: Final = sum(DIGITS.values())
LINES: Final = b"\x78"
"""How a pack of lines begins, as all that zlib has compressed."""
FEW: Final = 8  # of so many each is looked for; else all are looked at
KEPT: Final = 2  # some megabytes each


T = TypeVar("T")


class _Texts(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """A column of texts, as ``shapes`` takes it apart."""

    kinds: bytes
    places: Column
    numbers: list[Column]


class _Written(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    count: int
    columns: list[Column]
    texts: list[_Texts] = []
    """Empty where no event has any."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Written).decode
_decode_kinds = msgspec.msgpack.Decoder(list[list[str]]).decode


def pack(
    columns: Sequence[Sequence[int]], texts: Sequence[Sequence[str | None]] = ()
) -> bytes:
    """Return a pack of events in the order of their ids, given column by column.

    What is written is read back.

    Args:
        columns: those of ``NAMES``.
        texts: those of ``TEXTS``; none where no event has any.

    Raises:
        BadPack: they are not in order, hold what no pack can hold, or do not read as they
            were written.
    """
    ids = columns[0]
    if len(ids) > IDS_MAX or not (isinstance(ids, range) or _is_in_order(ids)):
        raise BadPack("events are too many, or not in order")
    if ids and ids[0] == 0 and ids[-1] == len(ids) - 1:
        ids = range(len(ids))
    has_texts = any(column.count(None) < len(column) for column in texts)
    try:
        written = _Written(
            len(ids),
            [
                column_of(numbers, 10**digits - 1)
                for numbers, digits in zip(
                    (ids, *columns[1:]), DIGITS.values(), strict=True
                )
            ],
            [_text_column(column) for column in texts] if has_texts else [],
        )
    except OverflowError as error:
        raise BadPack(f"a number does not fit into a pack: {error}") from error
    body = _encode(written)
    if has_texts:
        read = Pack(body)
        if any(
            read.texts(name) != list(column)
            for name, column in zip(TEXTS, texts, strict=True)
        ):
            raise BadPack("a pack does not read as it was written")
    return body


def _is_in_order(ids: Sequence[int]) -> bool:
    return all(map(lt, ids, islice(ids, 1, None)))


def _text_column(texts: Sequence[str | None]) -> _Texts:
    kinds, places, numbers = apart(texts)
    raw = _encode(kinds)
    if len(raw) > KINDS_BYTES_MAX:
        raise BadPack("texts are too long")
    return _Texts(
        compressed(raw),
        column_of(places, IDS_MAX),
        [column_of(one, NUMBER_MAX) for one in numbers],
    )


class Pack:
    """A pack that is read column by column, each when it is first asked for.

    Raises:
        BadPack: it is none; also where a column is asked for.
    """

    def __init__(self, body: bytes) -> None:
        self._read: dict[str, Sequence[int]] = {}
        self._laid: dict[str, Sequence[int]] = {}
        self._lines: bytes | None = None
        self._columns: list[Column] = []
        self._texts: list[_Texts] = []
        self._read_texts: dict[str, list[str | None]] = {}
        if body.startswith(LINES):
            lines = self._lines = decompressed(body, WIDTH * IDS_MAX)
            if len(lines) % WIDTH or (lines and not lines.isdigit()):
                raise BadPack("a pack is cut off, or of something else")
            self.count = len(lines) // WIDTH
            return
        try:
            written = _decode(body)
        except msgspec.MsgspecError as error:
            raise BadPack(f"a pack cannot be read: {error}") from error
        self.count, self._columns = written.count, written.columns
        self._texts = written.texts
        is_of_events = len(self._columns) == len(NAMES) and 0 <= self.count <= IDS_MAX
        if not is_of_events or len(self._texts) not in (0, len(TEXTS)):
            raise BadPack("a pack is of something else")

    def __getitem__(self, name: str) -> Sequence[int]:
        """Return the numbers of a column."""
        found = self._read.get(name)
        if found is None:
            numbers = self.laid(name)
            found = numbers if isinstance(numbers, list | range) else list(numbers)
            self._read[name] = found
        return found

    @property
    def has_texts(self) -> bool:
        """Whether any event has a text."""
        return bool(self._texts)

    def texts(self, name: str) -> list[str | None]:
        """Return the texts of a column."""
        found = self._read_texts.get(name)
        if found is None:
            found = self._read_texts[name] = (
                self._of_texts(self._texts[TEXTS.index(name)])
                if self._texts
                else list[str | None](repeat(None, self.count))
            )
        return found

    def at(self, name: str, places: Sequence[int]) -> list[int]:
        """Return the numbers of a column that lie at some places.

        Where these are few it takes a fraction of the time that all of them take.
        """
        return list(map(self.laid(name).__getitem__, places))

    def places_of(self, subjects: Set[int]) -> list[int]:
        """Return at which places the events of some subjects lie, in order."""
        numbers = self.laid("subject_id")
        if isinstance(numbers, list | range):
            return [i for i, one in enumerate(numbers) if one in subjects]
        size = numbers.itemsize if isinstance(numbers, array) else 1
        wanted = [
            one.to_bytes(size, sys.byteorder)
            for one in subjects
            if 0 <= one < 1 << 8 * size
        ]
        # A byte for each event: 1 where each byte of its subject is one of a subject's.
        raw, may_be = bytes(numbers), -1
        for i in range(size):
            told = bytearray(256)
            for one in wanted:
                told[one[i]] = 1
            may_be &= int.from_bytes(raw[i::size].translate(told), "little")
        places = _ones(may_be.to_bytes(self.count, "little"))
        if len(wanted) <= 1:
            return places
        return [place for place in places if numbers[place] in subjects]

    def between(self, first: int, last: int) -> slice:
        """Return where the events lie whose ids, counted from the first, are between."""
        ids = self.laid("id")
        return slice(bisect_left(ids, first), bisect_right(ids, last))

    def laid(self, name: str) -> Sequence[int]:
        """Return the numbers of a column as they lie there, often an array of them."""
        found = self._laid.get(name)
        if found is None:
            lines = self._lines
            found = (
                numbers_of(self._columns[PLACE[name]], self.count)
                if lines is None
                else self._of(lines, name)
            )
            self._laid[name] = found
        return found

    def _of_texts(self, written: _Texts) -> list[str | None]:
        places = numbers_of(written.places, self.count)
        try:
            kinds = _decode_kinds(decompressed(written.kinds, KINDS_BYTES_MAX))
            numbers = _in_kinds(written.numbers, kinds, places)
            found = together(kinds, places, numbers)
        except (msgspec.MsgspecError, IndexError, ValueError) as error:
            raise BadPack(f"texts of a pack cannot be read: {error}") from error
        if len(found) != self.count:
            raise BadPack("texts of a pack are too few")
        return found

    def _of(self, lines: bytes, name: str) -> list[int]:
        wide = DIGITS[name]
        before = sum(DIGITS[other] for other in NAMES[: PLACE[name]])
        line = bytearray((b"0" * wide + b" ") * self.count)
        for i in range(wide):
            start = (before + i) * self.count
            line[i :: wide + 1] = lines[start : start + self.count]
        return list(map(int, bytes(line).split()))


def _in_kinds(
    written: Sequence[Column], kinds: Sequence[Sequence[str]], places: Sequence[int]
) -> Iterator[Sequence[int]]:
    """Return the numbers of texts, as many of each kind as there are texts of it."""
    n_of = Counter(places)
    counts = [n_of[kind] for kind, pieces in enumerate(kinds) for _ in pieces[1:]]
    return iter([numbers_of(*of) for of in zip(written, counts, strict=True)])


def _ones(flags: bytes) -> list[int]:
    """Return at which places a 1 stands, where all others are 0."""
    if flags.count(1) > len(flags) // FEW:
        return list(compress(range(len(flags)), flags))
    places: list[int] = []
    place = flags.find(1)
    while place >= 0:
        places.append(place)
        place = flags.find(1, place + 1)
    return places


opened = lru_cache(maxsize=KEPT)(Pack)
"""Returns a pack; the last ones are kept, as what is asked for next may be of them."""


def unpack(body: bytes, first: int, last: int, names: str, subjects: str | None) -> str:
    """Return events for a statement, as a JSON array, in order.

    Each is a line of digits. Where texts are asked for it is indented, and where the pack
    has any it stands in an array, with the texts behind it: so it begins at the same place.

    Args:
        first, last: of which ids, both included, counted from the pack's first.
        names: the columns that are asked for, with commas between.
        subjects: a JSON array of the subjects that are looked for; ``None``: all.

    Raises:
        BadPack: it is none.
    """
    read, listed = opened(body), names.split(",")
    part = read.between(first, last)
    wanted: list[int] | None = None
    if subjects is not None:
        places = read.places_of(set(msgspec.json.decode(subjects, type=list[int])))
        wanted = places[
            bisect_left(places, part.start) : bisect_left(places, part.stop)
        ]
    numbers = [name for name in listed if name in DIGITS]
    texts = [name for name in listed if name in TEXTS]
    form = "".join([f"%0{DIGITS[name]}d" for name in numbers])
    if texts and not read.has_texts:
        form = " " * len(INDENT) + form
    rows = zip(
        *(
            read[name][part] if wanted is None else read.at(name, wanted)
            for name in numbers
        ),
        strict=True,
    )
    lines = [form % row for row in rows]
    if texts and read.has_texts:
        columns = [_picked(read.texts(name), part, wanted) for name in texts]
        return msgspec.json.encode(list(zip(lines, *columns, strict=True))).decode()
    return '["' + '","'.join(lines) + '"]' if lines else "[]"


def _picked(
    column: Sequence[T], part: slice, places: Sequence[int] | None
) -> Sequence[T]:
    return column[part] if places is None else [column[i] for i in places]
