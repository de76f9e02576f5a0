"""SQL that counts events which are alike, as far as any meter looks."""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence, Set
from itertools import count, repeat
from typing import Any, Final

from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.fact_columns import VALUES, FactColumns
from meterline_sidecar.store.edge.packed import is_packed
from meterline_sidecar.store.edge.usage import COUNTED, EventFacts, Span, events_in
from meterline_sidecar.store.pack_columns import CODES, is_one
from meterline_sidecar.store.port import Tx

OF_ITS_OWN: Final[dict[str, int | None]] = {
    **dict.fromkeys(VALUES, 0),
    **dict.fromkeys(("quantities", "properties")),
}
"""What differs from event to event, and what stands for it where no meter looks."""
SUBJECT_FROM: Final = 32
ENDPOINT_FROM: Final = 10
STATUS_MAX: Final = (1 << ENDPOINT_FROM) - 1  # an event's ends at 999
ENDPOINTS_MAX: Final = (1 << SUBJECT_FROM - ENDPOINT_FROM) - 1
SORT: Final = (
    f"(subject_id * {1 << SUBJECT_FROM} + endpoint_id * {1 << ENDPOINT_FROM} + status)"
)
"""Subject, endpoint and status in one number: events are sorted by it in a third less
time than by three. There is room for 2 billion subjects."""
HALF: Final = 1 << 32
"""A sum is made in two halves: SQLite ends a query whose sum is beyond 63 bits."""


FEW: Final = 100
"""So many windows are told apart by where each ends, where times are in order."""


async def alike_in(
    tx: Tx,
    span: Span,
    *,
    skip_flags: int,
    looked_at: Set[str],
    added_up: Set[str] = frozenset(),
    window_ms: int,
) -> list[EventFacts]:
    """Return the events of a span, those that are alike as one, in no order.

    Args:
        looked_at: which columns of ``OF_ITS_OWN`` meters look at; others are empty.
        added_up: which of these need not be the same: one that stands for several has the
            sum of theirs.
        window_ms: how long the windows are in which they are told apart by time.
    """
    if not span.n_ids:
        return []
    if await is_packed(tx, span.after_id + 1, span.last_id):
        names = [n for n in COUNTED.names if n in looked_at or n not in OF_ITS_OWN]
        columns = await columns_between(
            tx, span.after_id + 1, span.last_id, columns=names
        )
        return alike_of(
            dict(zip(names, columns, strict=True)),
            skip_flags=skip_flags,
            looked_at=looked_at,
            added_up=added_up,
            window_ms=window_ms,
        )
    if await _last_endpoint(tx) > ENDPOINTS_MAX:
        return await events_in(tx, span, skip_flags=skip_flags)
    sums = [name for name in VALUES if name in looked_at & added_up]
    read = {name: name for name in COUNTED.names} | {
        name: "NULL" if nothing is None else str(nothing)
        for name, nothing in OF_ITS_OWN.items()
        if name not in looked_at
    }
    read |= {name: f"sum({name} % {HALF})" for name in sums}
    read |= {"id": "max(id)", "time_ms": "max(time_ms)"}
    read |= {"subject_id": SORT, "endpoint_id": "0", "status": "0"}
    told_apart = [name for name in COUNTED.names if read[name] == name]
    high = "".join(f", sum({name} / {HALF})" for name in sums)
    rows = await tx.fetch_all(
        f"SELECT {', '.join(read.values())}, count(*){high} FROM events"  # noqa: S608 - names
        " WHERE id > ? AND id <= ? AND flags & ? = 0"
        f" GROUP BY {SORT}, time_ms / ?, {', '.join(told_apart)}",
        (*span[:2], skip_flags, window_ms),
    )
    # Made at once: where few are alike, these are nearly as many as there are events.
    places = [VALUES.index(name) for name in sums]
    return [
        EventFacts(
            *(event_id, time_ms, kind, sort >> SUBJECT_FROM),
            *((sort >> ENDPOINT_FROM) & ENDPOINTS_MAX, sort & STATUS_MAX),
            *(_whole(others, places) if places else others),
        )
        for event_id, time_ms, kind, sort, _, _, *others in rows
    ]


def _whole(facts: list[Any], places: list[int]) -> list[Any]:
    """Return facts with whole sums: of those at some places half stands at the end."""
    end = len(facts) - len(places)
    for place, high in zip(places, facts[end:], strict=True):
        facts[place] = int(facts[place]) + int(high) * HALF
    return facts[:end]


def alike_of(
    columns: FactColumns,
    *,
    skip_flags: int,
    looked_at: Set[str],
    added_up: Set[str],
    window_ms: int,
) -> list[EventFacts]:
    """Return the same of columns that were read, by a few calls over all of them.

    Args:
        columns: in the order of the ids; those at which nobody looks may be left out.
        skip_flags, looked_at, added_up, window_ms: as ``alike_in``.
    """
    ids, times = columns["id"], columns["time_ms"]
    if not ids:
        return []
    sums = [name for name in VALUES if name in looked_at & added_up]
    told_apart = [
        column
        for name, column in columns.items()
        if (name in looked_at or name not in OF_ITS_OWN)
        and name not in ("id", "time_ms", *sums)
        and not is_one(column)
    ]
    told_apart += _windows(times, window_ms)
    alike = _alike_by(told_apart, len(ids))
    last = [places[-1] for places in alike]
    facts: dict[str, Any] = {
        name: map(columns[name].__getitem__, last)
        if name in columns and (name in looked_at or name not in OF_ITS_OWN)
        else repeat(OF_ITS_OWN[name])
        for name in COUNTED.names
    }
    for name in sums:
        value_at = columns[name].__getitem__
        facts[name] = [sum(map(value_at, places)) for places in alike]
    found = map(EventFacts, *facts.values(), map(len, alike))
    return [event for event in found if not event.flags & skip_flags]


def _windows(times: Sequence[int], window_ms: int) -> list[Sequence[int]]:
    """Return in which window each time lies, counted from the first; nothing: in one."""
    in_order = sorted(times)
    first, last = in_order[0] // window_ms, in_order[-1] // window_ms
    if first == last:
        return []
    if in_order != times or last - first > FEW:
        return [[time_ms // window_ms - first for time_ms in times]]
    found: list[int] = []
    for window in range(last - first):
        end = bisect_left(in_order, (first + window + 1) * window_ms)
        found += [window] * (end - len(found))
    return [found + [last - first] * (len(times) - len(found))]


def _alike_by(columns: Sequence[Sequence[Any]], n_events: int) -> list[Sequence[int]]:
    """Return the places of events that are the same in all columns, in order."""
    if not columns:
        return [range(n_events)]
    found: defaultdict[Any, list[int]] = defaultdict(list)
    for place, sort in enumerate(_sorts(columns)):
        found[sort].append(place)
    return list[Sequence[int]](found.values())


def _sorts(columns: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """Return what is the same for events that are the same in all columns.

    That is one number, if there is room for the bytes in which they differ: it is looked
    up in a third of the time that a tuple is.
    """
    if len(columns) == 1:
        return columns[0]
    planes: list[bytes] = []
    for column in columns:
        raw, size = _bytes_of(column)
        planes += [raw[i::size] for i in range(size)]
    planes = [plane for plane in planes if not is_one(plane)]
    for size, code in CODES:
        if size >= len(planes):
            laid = bytearray(size * len(columns[0]))
            for i, plane in enumerate(planes):
                laid[i::size] = plane
            return array(code, bytes(laid))
    return list(zip(*columns, strict=True))


def _bytes_of(column: Sequence[Any]) -> tuple[bytes, int]:
    """Return the bytes of numbers that tell a column's values apart, and their size."""
    if isinstance(column, array):
        return column.tobytes(), column.itemsize
    try:
        return bytes(column), 1
    except (TypeError, ValueError):  # texts, or larger numbers
        numbered: defaultdict[Any, int] = defaultdict(count().__next__)
        laid = array("I", map(numbered.__getitem__, column))
        return laid.tobytes(), laid.itemsize


async def _last_endpoint(tx: Tx) -> int:
    row = await tx.fetch_one("SELECT coalesce(max(id), 0) FROM endpoints")
    assert row is not None
    return int(row[0])
