"""What aggregation reads of many events, column by column, in the order of their ids.

Made, cut and looked at by a few calls over whole columns: no event is an object unless
it has to be.
"""

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any, Final

from meterline_sidecar.store.edge.usage import COUNTED, EventFacts

FactColumns = dict[str, Sequence[Any]]
"""Columns of ``COUNTED`` by name, each as long as the others; some may be left out."""
VALUES: Final = ("duration_us", "bytes_in", "bytes_out")
"""Whole numbers that every event has: they say how much, and never whether or where."""
PLACING: Final = COUNTED.without(*VALUES)
"""What says where an event is counted."""


def of_events(events: Iterable[EventFacts]) -> FactColumns:
    """Return events as columns."""
    columns = list(zip(*events, strict=True)) or [() for _ in COUNTED.names]
    return dict(zip(COUNTED.names, columns, strict=False))


def events_at(columns: FactColumns, places: Iterable[int]) -> list[EventFacts]:
    """Return some events each by itself; a column that was left out is 0."""
    read = [columns.get(name) for name in COUNTED.names]
    return [
        EventFacts._make(
            [*(0 if column is None else column[place] for column in read), 1]
        )
        for place in places
    ]


def picked(columns: FactColumns, which: Sequence[bool]) -> FactColumns:
    """Return those events of which it is true."""
    if all(which):
        return columns
    return {name: list(compress(column, which)) for name, column in columns.items()}


def part_of(columns: FactColumns, places: slice) -> FactColumns:
    """Return some events in a row."""
    return {name: column[places] for name, column in columns.items()}
