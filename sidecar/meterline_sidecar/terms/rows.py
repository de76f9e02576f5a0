"""Rows of terms in memory, packed: of very many customers few are asked for at a time.

A row that is read takes several times as much. Those about who was asked for last are
kept as they are read, as whoever asks for a customer asks several times; of all else
there is little.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import astuple

from meterline_sidecar.store.terms import Kind, Source
from meterline_sidecar.terms.change import TYPES, Change

READ_MAX: Final = 256
"""Customers whose rows are kept as they are read."""


class Entry(NamedTuple):
    """One row, decoded."""

    row_id: int
    from_ms: int
    learned_ms: int
    source: Source
    reaches_final: bool
    change: Change


_encode: Final = msgspec.msgpack.Encoder().encode
_Packed = tuple[int, int, int, Source, bool, int, list[Any]]
"""An entry: of its change a bit for each field that is said, and what those say.

Rows of very many customers say the same few fields, whose names would be half of all.
"""
_decode: Final = msgspec.msgpack.Decoder(list[_Packed]).decode
HEAD_BYTES: Final = 5
"""As MessagePack begins an array, with its length in four bytes however short it is."""


def _head(n_entries: int) -> bytes:
    return b"\xdd" + n_entries.to_bytes(HEAD_BYTES - 1)


def _pack(entry: Entry) -> bytes:
    values = astuple(entry.change)
    said = sum(1 << i for i, value in enumerate(values) if value is not UNSET)
    given = [value for value in values if value is not UNSET]
    return _encode((*entry[:5], said, given))


def _unpack(row: _Packed, type_: type[Change]) -> Entry:
    named = dict(zip(_fields(type_, row[5]), row[6], strict=True))
    return Entry(*row[:5], msgspec.convert(named, type_))


@lru_cache
def _fields(type_: type[Change], said: int) -> tuple[str, ...]:
    return tuple(f for i, f in enumerate(type_.__struct_fields__) if said >> i & 1)


class Rows:
    """The rows of one kind, by what they are about, each in the order of learning."""

    def __init__(self, kind: Kind) -> None:
        self._kind: Final = kind
        self._type: Final = TYPES[kind]
        self._packed: dict[str, bytes] = {}
        self._read: dict[str, tuple[Entry, ...]] = {}

    def copy(self) -> "Rows":
        """Return rows that change apart from these."""
        new = Rows(self._kind)
        new._packed = dict(self._packed)
        return new

    @property
    def names(self) -> Collection[str]:
        """What there are rows about."""
        return self._packed.keys()

    def of(self, name: str) -> tuple[Entry, ...]:
        """Return the rows about one thing; none where nothing is known of it."""
        found = self._read.get(name)
        if found is None:
            packed = self._packed.get(name)
            if packed is None:
                return ()
            found = tuple(_unpack(row, self._type) for row in _decode(packed))
            if self._kind == "customer" and len(self._read) >= READ_MAX:
                self._read.clear()
            self._read[name] = found
        return found  # not looked up again: another thread may have cleared it

    def count(self, name: str) -> int:
        """Return how many rows there are about one thing."""
        packed = self._packed.get(name)
        return 0 if packed is None else int.from_bytes(packed[1:HEAD_BYTES])

    def add(self, name: str, entry: Entry) -> None:
        """Add a row behind those that there are about the same thing."""
        before = self._packed.get(name, b"")[HEAD_BYTES:]
        self._packed[name] = _head(self.count(name) + 1) + before + _pack(entry)
        self._read.pop(name, None)

    def put(self, name: str, entries: Sequence[Entry]) -> None:
        """Let these be the rows about one thing."""
        self._packed[name] = _head(len(entries)) + b"".join(map(_pack, entries))
        self._read.pop(name, None)
