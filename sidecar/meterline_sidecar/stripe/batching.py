"""Chooses which rows go out in which request."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from msgspec import Struct

from meterline_sidecar.store.outbox import OutboxRow
from meterline_sidecar.stripe.meter_events import MeterEvent, meter_event

STREAM_ROWS_MAX: Final = 100
"""Source: docs.stripe.com/.../recording-usage-api, read 2026-05-05."""


class StripeRequest(Struct, frozen=True):
    """What goes out in one request."""

    rows: tuple[OutboxRow, ...]
    batch_key: str | None = None
    """The key of the stream's request; ``None`` sends one row by itself."""

    def events(self) -> list[MeterEvent]:
        """Return what to send."""
        return [meter_event(row) for row in self.rows]


class ReadyRows:
    """Rows that may be sent, of which at most one of each series is out.

    Args:
        is_sendable: asked when a row's turn comes; others are left to the next run.
    """

    def __init__(self, is_sendable: Callable[[OutboxRow], bool]) -> None:
        self._is_sendable = is_sendable
        self._rows: deque[OutboxRow] = deque()
        self._out: set[tuple[str, str | None]] = set()
        self.alone: set[int] = set()
        """Ids of rows that go in a request of their own the next time, which shows
        what is wrong with them."""

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Forget every row; nothing is out."""
        self._rows.clear()
        self._out.clear()

    def extend(self, rows: Iterable[OutboxRow]) -> None:
        """Add rows, in the order in which they should go."""
        self._rows.extend(rows)

    def has_free(self) -> bool:
        """Return whether a row is here whose series is not out."""
        return any(row.series not in self._out for row in self._rows)

    def take(self, *, streams: bool) -> StripeRequest | None:
        """Return the next request, ``None`` if every row has to wait.

        With ``streams``, up to 100 rows go together.
        """
        first = self._take_row(only_streamed=False)
        if first is None:
            return None
        if not streams or not self._is_streamed(first):
            self.alone.discard(first.id)
            return StripeRequest((first,))
        rows = [first]
        while len(rows) < STREAM_ROWS_MAX:
            row = self._take_row(only_streamed=True)
            if row is None:
                break
            rows.append(row)
        return StripeRequest(tuple(rows), _batch_key(rows))

    def back(self, rows: Iterable[OutboxRow]) -> None:
        """Note that rows are not out any more."""
        self._out.difference_update(row.series for row in rows)

    def _is_streamed(self, row: OutboxRow) -> bool:
        # The stream's documentation wants positive integers: all else goes alone.
        return row.value > 0 and not row.scale and row.id not in self.alone

    def _take_row(self, *, only_streamed: bool) -> OutboxRow | None:
        for i, row in enumerate(self._rows):
            if row.series in self._out:
                continue
            if only_streamed and not self._is_streamed(row):
                continue
            del self._rows[i]
            if not self._is_sendable(row):
                return self._take_row(only_streamed=only_streamed)
            self._out.add(row.series)
            return row
        return None


def _batch_key(rows: Iterable[OutboxRow]) -> str:
    """Return a key that is a function of what it stands for, as those of rows are."""
    text = "\n".join(meter_event(row).key for row in rows)
    return "u1b-" + hashlib.sha256(text.encode()).hexdigest()
