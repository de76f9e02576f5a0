"""Rows of terms in memory, packed: of very many customers few are asked for at a time.

A row that is read takes several times as much. Those about who was asked for last are
kept as they are read, as whoever asks for a customer asks several times; of all else
there is little.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, cast

import msgspec

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
_Decode = Callable[[bytes], list[tuple[int, int, int, Source, bool, Change]]]
_DECODERS: Final = {
    kind: cast(
        "_Decode",
        msgspec.msgpack.Decoder(
            list[tuple[int, int, int, Source, bool, type_]]  # type: ignore[valid-type]
        ).decode,
    )
    for kind, type_ in TYPES.items()
}


class Rows:
    """The rows of one kind, by what they are about, each in the order of learning."""

    def __init__(self, kind: Kind) -> None:
        self._kind: Final = kind
        self._decode: Final = _DECODERS[kind]
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
            found = tuple(Entry(*row) for row in self._decode(packed))
            if self._kind == "customer" and len(self._read) >= READ_MAX:
                self._read.clear()
            self._read[name] = found
        return found  # not looked up again: another thread may have cleared it

    def count(self, name: str) -> int:
        """Return how many rows there are about one thing."""
        packed = self._packed.get(name)
        return 0 if packed is None else _length(packed)

    def add(self, name: str, entry: Entry) -> None:
        """Add a row behind those that there are about the same thing."""
        self.put(name, (*self.of(name), entry))

    def put(self, name: str, entries: Sequence[Entry]) -> None:
        """Let these be the rows about one thing."""
        self._packed[name] = _encode(entries)
        self._read.pop(name, None)


def _length(packed: bytes) -> int:
    """Return how many elements an array has, as MessagePack begins it."""
    first = packed[0]
    if first < 0xDC:
        return first & 0x0F
    return int.from_bytes(packed[1:3] if first == 0xDC else packed[1:5])
