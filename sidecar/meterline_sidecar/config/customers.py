"""Very many customers as they were read, packed until somebody goes through them."""

from collections.abc import Iterator, Sequence
from typing import Final, overload

import msgspec

from meterline_sidecar.config.shape import Customer

PER_PART: Final = 200  # a millisecond to unpack


class PackedCustomers(Sequence[Customer]):
    """Customers in a tenth of the memory; one after the other they are soon there."""

    def __init__(self, parts: Sequence[bytes], *, n_customers: int) -> None:
        self._parts = parts
        self._n_customers = n_customers

    @classmethod
    def of(cls, customers: Sequence[Customer]) -> "PackedCustomers":
        """Pack customers."""
        starts = range(0, len(customers), PER_PART)
        parts = [_encode(customers[start : start + PER_PART]) for start in starts]
        return cls(parts, n_customers=len(customers))

    def __len__(self) -> int:
        """Return how many there are."""
        return self._n_customers

    def __iter__(self) -> Iterator[Customer]:
        """Yield them in order."""
        for part in self._parts:
            yield from _decode(part)

    @overload
    def __getitem__(self, i: int) -> Customer: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Customer]: ...
    def __getitem__(self, i: int | slice) -> Customer | Sequence[Customer]:
        """Return one, or some."""
        if isinstance(i, slice):
            return [self[at] for at in range(*i.indices(len(self)))]
        at = range(len(self))[i]
        return _decode(self._parts[at // PER_PART])[at % PER_PART]


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Customer]).decode
