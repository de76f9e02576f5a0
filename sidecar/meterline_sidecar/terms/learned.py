"""What each row of terms is about, in the order in which they were learned."""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, get_args

from meterline_sidecar.store.terms import Kind

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Learned:
    """A line for each row, of a few bytes: there may be very many."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._kinds = bytearray()
        self._names: list[str] = []

    def copy(self) -> "Learned":
        """Return one that grows apart from this one."""
        new = Learned()
        new._ids, new._kinds = self._ids[:], self._kinds[:]
        new._names = self._names[:]
        return new

    def add(self, row_id: int, kind: Kind, name: str) -> None:
        """Note a row, which is newer than all that are known."""
        self._ids.append(row_id)
        self._kinds.append(KINDS.index(kind))
        self._names.append(name)

    def after(self, row_id: int) -> Iterator[tuple[Kind, str]]:
        """Yield what each row behind an id is about."""
        for i in range(bisect_right(self._ids, row_id), len(self._ids)):
            yield KINDS[self._kinds[i]], self._names[i]
