"""SQL for the events behind usage: where they can be, without an index on them."""

from collections.abc import Sequence
from typing import Final

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.by_column import columns_between
from meterline_sidecar.store.edge.fact_columns import events_at
from meterline_sidecar.store.edge.usage import COUNTED, EventFacts
from meterline_sidecar.store.port import Tx

Ids = tuple[int, int]
"""The first and the last id of events in a row."""

OF_CUSTOMER: Final = (
    "SELECT id FROM subjects WHERE customer = ? AND is_split = 0"
    " UNION SELECT subject_id FROM owners WHERE customer = ?"
)


async def hours_between(tx: Tx, start: int, end: int) -> dict[int, Ids]:
    """Return within which ids the events of each hour of a span are, here or away."""
    rows = await tx.fetch_all(
        "SELECT hour_ms, first_event_id, last_event_id FROM event_hours"
        " WHERE hour_ms >= ? AND hour_ms < ? ORDER BY hour_ms",
        (start // HOUR_MS * HOUR_MS, end),
    )
    return {hour_ms: (first, last) for hour_ms, first, last in rows}


async def events_within(
    tx: Tx, ids: Ids, *, customer: str, start: int, end: int, skip_flags: int
) -> list[EventFacts]:
    """Return events of whoever a customer pays for, or ever paid for, in order of ids.

    Args:
        start, end: between which they happened.
        skip_flags: of events that are passed over.
    """
    subjects = await tx.fetch_all(OF_CUSTOMER, (customer, customer))
    read = await columns_between(
        *(tx, *ids), columns=COUNTED.names, subjects=[row[0] for row in subjects]
    )
    facts = dict(zip(COUNTED.names, read, strict=True))
    of_time = zip(facts["time_ms"], facts["flags"], strict=True)
    return events_at(
        facts,
        [
            place
            for place, (time_ms, flags) in enumerate(of_time)
            if start <= time_ms < end and not flags & skip_flags
        ],
    )


async def here(tx: Tx, spans: Sequence[Ids]) -> list[Ids]:
    """Return what of spans of ids is in the ledger, and not in its archive."""
    first_here = (await begin(tx)).event_id + 1
    return [
        (max(first, first_here), last) for first, last in spans if last >= first_here
    ]


async def last_learned_by(tx: Tx, at_ms: int) -> int:
    """Return the last event that was stored by a time; 0 where none of it is here.

    Batches are in the order of their times but for a clock that was set back: then it
    is one of those around it.
    """
    row = await tx.fetch_one("SELECT min(id), max(id) FROM batches")
    assert row is not None
    low, high = (row[0] or 1) - 1, row[1] or 0
    while low < high:  # halved: a full look reads a batch for each few events
        middle = (low + high + 1) // 2
        learned = await tx.fetch_one(
            "SELECT id, learned_ms FROM batches WHERE id <= ? ORDER BY id DESC LIMIT 1",
            (middle,),
        )
        if learned is None or learned[1] <= at_ms:
            low = middle
        else:
            high = learned[0] - 1
    found = await tx.fetch_one(
        "SELECT first_event_id + events - 1 FROM batches WHERE id = ?", (low,)
    )
    return 0 if found is None else int(found[0])
