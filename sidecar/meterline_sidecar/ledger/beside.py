"""Compares a stored table with what it must hold, both in order of the key."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from meterline_sidecar.clock import DAY_MS
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.runs import Item, Key
from meterline_sidecar.meters import Aggregation, Totals, merge


class Beside:
    """Compares a stored table with what it must hold, both in order of the key.

    Args:
        read: returns some rows behind a key; ``None``: the first ones.
        may_be_more: rows that nothing stands for, and values above, change nothing.
        beyond_ms: before this, what is stored may have more in it than was read; the
            second field of a key is its time.
    """

    def __init__(
        self,
        table: str,
        columns: Sequence[str],
        read: Callable[[Key | None], Awaitable[list[Item]]],
        report: Report,
        *,
        may_be_more: bool = False,
        beyond_ms: int = 0,
    ) -> None:
        self._table = table
        self._beyond_ms = beyond_ms
        self._columns = columns
        self._read = read
        self._report = report
        self._may_be_more = may_be_more
        self._rows: list[Item] = []
        self._last: Key | None = None
        self._is_done = False
        self.rows = 0
        """How many rows were compared."""

    def has(self, key: Key, value: Any) -> bool:
        """Compare the next row, if it was read; ``False``: look with ``expect``."""
        if not self._rows or self._rows[-1] != (key, value):
            return False
        self._rows.pop()
        self.rows += 1
        return True

    async def expect(self, key: Key, value: Any) -> None:
        """Compare the row of the next key."""
        while (row := await self._next()) is not None and row[0] < key:
            self._pass(row)
        if row is None or row[0] != key:
            self._report.add(f"{self._table}: {self._where(key)} is missing")
            return
        self._rows.pop()
        self.rows += 1
        if self._may_be_more:
            if row[1] < value:
                self._differs(row, value)
        elif self._is_partly_read(key):
            # The last event of a window was read, as it came after all that left.
            is_window = isinstance(cast("object", value), tuple)
            if is_window and row[1][1] != value[1]:
                self._differs(row, value)
        elif row[1] != value:
            self._differs(row, value)

    async def end(self) -> None:
        """Look at what is left."""
        while (row := await self._next()) is not None:
            self._pass(row)

    async def _next(self) -> Item | None:
        if not self._rows and not self._is_done:
            self._rows = await self._read(self._last)
            self._is_done = not self._rows
            if self._rows:
                self._last = self._rows[-1][0]
                self._rows.reverse()
        return self._rows[-1] if self._rows else None

    def _pass(self, row: Item) -> None:
        self._rows.pop()
        self.rows += 1
        if not self._may_be_more and not self._is_partly_read(row[0]):
            self._differs(row, "nothing")

    def _is_partly_read(self, key: Key) -> bool:
        at_ms = key[1]
        assert isinstance(at_ms, int), "keys are of a time"
        return at_ms < self._beyond_ms

    def _differs(self, row: Item, value: object) -> None:
        stored = "a row" if row[1] is None else row[1]
        self._report.add(
            f"{self._table}: {stored} is stored for {self._where(row[0])},"
            f" the events come to {value}"
        )

    def _where(self, key: Key) -> str:
        """Return a key in words."""
        named = zip(self._columns, key, strict=True)
        return ", ".join(f"{name} {value}" for name, value in named)


class ByDay:
    """Adds windows, which come in order, up to days, which go on in order."""

    def __init__(self, days: Beside, aggregations: Mapping[str, Aggregation]) -> None:
        self._days = days
        self._aggregations = aggregations
        self._day: tuple[int | str, int] | None = None
        self._groups: dict[int | str, Totals] = {}

    def goes_on(self, key: Key) -> bool:
        """Say whether a window is of the day of the one before."""
        return self._day == _day_of(key)

    def add(self, key: Key, totals: Totals) -> None:
        """Add a window; the day of another one has its ``end`` before."""
        self._day = _day_of(key)
        group_id = key[2]
        merge(
            self._groups.setdefault(group_id, {}),
            more=totals,
            aggregations=self._aggregations,
        )

    async def end(self) -> None:
        """Let the day go that was added up."""
        if self._day is not None:
            for group_id in sorted(self._groups, key=int):
                await self._days.expect((*self._day, group_id), self._groups[group_id])
        self._day, self._groups = None, {}


def _day_of(key: Key) -> tuple[int | str, int]:
    subject_id, window_ms, _ = key
    assert isinstance(window_ms, int)
    return subject_id, window_ms // DAY_MS * DAY_MS
