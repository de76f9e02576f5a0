"""Events as they are appended, and as they are counted where they are alike."""

import pytest

from meterline_sidecar.store.edge.alike import ENDPOINTS_MAX, alike_in
from meterline_sidecar.store.edge.events import add_events
from meterline_sidecar.store.edge.stored import STORED, StoredEvent
from meterline_sidecar.store.edge.usage import Span
from meterline_sidecar.store.port import Database

N_EVENTS = 1_060  # some statements of each size
QUANTITIES = '{"words":3}'
PROPERTIES = '{"all":{"region":"eu"}}'


@pytest.mark.parametrize(
    ("with_quantities", "with_properties"),
    [
        (range(0), range(0)),
        (range(1, N_EVENTS + 1), range(0)),
        (range(510, 520), range(0)),
        (range(0), range(3, N_EVENTS, 400)),
        (range(1, N_EVENTS + 1), range(N_EVENTS, N_EVENTS + 1)),
    ],
)
async def test_events_are_appended_with_what_they_have_and_have_not(
    database: Database, with_quantities: range, with_properties: range
) -> None:
    rows = [
        StoredEvent(
            *(i, 1, i, 1_793_966_400_000 + i, 1, i % 3, 1, 200, 5, 6, 7, 0),
            QUANTITIES if i in with_quantities else None,
            PROPERTIES if i in with_properties else None,
        )
        for i in range(1, N_EVENTS + 1)
    ]

    async with database.transaction() as tx:
        await add_events(tx, rows)

        found = await tx.fetch_all(f"SELECT {STORED.listed} FROM events ORDER BY id")
    assert [StoredEvent(*row) for row in found] == rows


@pytest.mark.parametrize("last_endpoint", [ENDPOINTS_MAX, ENDPOINTS_MAX + 1])
async def test_events_of_any_subject_endpoint_and_status_are_told_apart(
    database: Database, last_endpoint: int
) -> None:
    sorts = [
        (subject_id, endpoint_id, status)
        for subject_id in (0, 1, 2**31 - 1)
        for endpoint_id in (0, 1, last_endpoint)
        for status in (0, 1, 999)
    ]
    rows = [
        StoredEvent(i, 1, i, i, 1, *sort, 5, 6, 7, 0, None, None)
        for i, sort in enumerate(sorts * 2, 1)
    ]
    span = Span(0, len(rows), 1, len(rows))

    async with database.transaction() as tx:
        await add_events(tx, rows)
        await tx.execute(
            "INSERT INTO endpoints (id, method, route) VALUES (?, 'GET', '/')",
            (last_endpoint,),
        )

        found = await alike_in(
            tx, span, skip_flags=0, looked_at=set(), window_ms=900_000
        )
    n_found = len(sorts) * (1 if last_endpoint <= ENDPOINTS_MAX else 2)
    assert len(found) == n_found
    assert {(e.subject_id, e.endpoint_id, e.status) for e in found} == set(sorts)
    assert sum(event.n_events for event in found) == len(rows)


async def test_events_that_are_alike_else_have_the_sum_of_what_is_only_added_up(
    database: Database,
) -> None:
    largest = 2**63 - 1
    values = [(5, largest, largest), (6, 1, 2**32), (5, largest, 0)]
    rows = [
        StoredEvent(i, 1, i, i, 1, 1, 1, 200, *of, 0, None, None)
        for i, of in enumerate(values, 1)
    ]

    async with database.transaction() as tx:
        await add_events(tx, rows)
        found = await alike_in(
            tx,
            Span(0, len(rows), 1, len(rows)),
            skip_flags=0,
            looked_at={"duration_us", "bytes_in", "bytes_out"},
            added_up={"bytes_in", "bytes_out"},
            window_ms=900_000,
        )

    sums = {(e.duration_us, e.bytes_in, e.bytes_out, e.n_events) for e in found}
    assert sums == {(5, 2 * largest, largest, 2), (6, 1, 2**32, 1)}
