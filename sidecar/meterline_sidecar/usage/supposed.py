"""What usage would be with more events than there are, before any of them is stored."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import count
from typing import Final

from meterline_sidecar.store import usage as store
from meterline_sidecar.store.columns import pieces
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge import usage as edge
from meterline_sidecar.store.edge.events import EventRow, subjects_of
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.owned import Payers, read_payers
from meterline_sidecar.store.port import Readable
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.fold import Place
from meterline_sidecar.usage.recount import (
    Counts,
    Edges,
    Recount,
    begin_of,
    differences,
)
from meterline_sidecar.usage.values import read_values

HistoryOf = Callable[[str], Sequence[tuple[int, str | None]]]
"""Returns who would pay for a subject that is new, from when on."""
NOBODY: Final = 0


async def with_more(
    database: Readable,
    events: AsyncIterator[list[EventRow]],
    *,
    first_ms: int,
    edges: Edges,
    history_of: HistoryOf,
) -> tuple[Recount, int]:
    """Return what usage would be with these events, and how many nobody would pay for.

    They are counted as if they came next; what is counted already is not read again,
    but added from the windows that it is in.

    Args:
        first_ms: the earliest time of any of them.
        edges: where a customer's usage must be told apart.
    """
    since_ms = begin_of(first_ms)
    async with database.reading() as tx:
        served = await store.newest_generation(tx)
        assert served is not None, "Aggregator.start() comes first"
        payers = await read_payers(tx)
        last_id = await event_log.last_event_id(tx)
        names = _Names(payers, await edge.endpoints(tx), history_of)
        cuts = await edge.cuts_between(tx, since_ms, NEVER_MS)
        definition = decode(served.definition)
        before = Counts(
            definition,
            payers,
            edges,
            since_ms=since_ms,
            values=await read_values(tx, definition),
            generation=served.id,
        )
        after = Counts(
            definition,
            payers,
            edges,
            since_ms=since_ms,
            values=await read_values(tx, definition),
            generation=served.id,
        )
    n_unassigned = 0
    async for rows in events:
        new = {row.subject for row in rows} - names.subjects.keys()
        async with database.reading() as tx:
            known = await subjects_of(tx, [name for name in new if name is not None])
        names.add_subjects(new, known)
        facts = [names.facts(row, n) for n, row in enumerate(rows, last_id + 1)]
        last_id += len(rows)
        n_unassigned += sum(
            payers.at(fact.subject_id, fact.time_ms) is None for fact in facts
        )
        # In a thread: folding is Python, and others must be answered meanwhile.
        await asyncio.to_thread(after.add, facts, names.endpoints, cuts)
    await _add_counted(database, served.id, payers, (before, after), since_ms=since_ms)
    # Of what nobody pays for only a part was read: that of subjects in these events.
    changed = [one for one in differences(before, after) if one.customer is not None]
    return Recount(since_ms, before, after, tuple(changed)), n_unassigned


class _Names:
    """Gives subjects and endpoints that are new ids of their own, below all others."""

    def __init__(
        self,
        payers: Payers,
        endpoints: dict[int, tuple[str, str]],
        history_of: HistoryOf,
    ) -> None:
        self._payers = payers
        self._history_of = history_of
        self._ids_of_endpoints = {name: row_id for row_id, name in endpoints.items()}
        self._new = count(-1, -1)
        self.endpoints = endpoints
        self.subjects: dict[str | None, int] = {None: NOBODY}

    def add_subjects(self, names: Iterable[str | None], known: dict[str, int]) -> None:
        for name in names:
            if name is None:
                continue
            self.subjects[name] = known.get(name) or next(self._new)
            if name not in known:
                for from_ms, customer in self._history_of(name):
                    self._payers.add_part(self.subjects[name], from_ms, customer)

    def facts(self, row: EventRow, event_id: int) -> EventFacts:
        name = (row.method, row.route)
        endpoint = self._ids_of_endpoints.get(name)
        if endpoint is None:
            endpoint = self._ids_of_endpoints[name] = next(self._new)
            self.endpoints[endpoint] = name
        return EventFacts(
            event_id,
            row.time_ms,
            row.kind,
            self.subjects[row.subject],
            endpoint,
            row.status,
            row.duration_us,
            row.bytes_in,
            row.bytes_out,
            row.flags,
            row.quantities,
            row.properties,
        )


async def _add_counted(
    database: Readable,
    generation: int,
    payers: Payers,
    counts: tuple[Counts, Counts],
    *,
    since_ms: int,
) -> None:
    """Add what is counted of whoever used anything in the second of two counts."""
    subjects = sorted(payers.subjects_of(frozenset(counts[1].customers)))
    for part in pieces(subjects):
        async with database.reading() as tx:
            windows = await store.windows_since(
                tx, generation, subjects=part, since_ms=since_ms
            )
            unique = await store.unique_since(
                tx, generation, subjects=part, since_ms=since_ms
            )
        for one in counts:
            for row in windows:
                place = Place(row.subject_id, row.window_ms, row.labels)
                one.add_place(place, row.totals, {})
            for subject_id, window_ms, labels, meter, value in unique:
                one.add_place(
                    Place(subject_id, window_ms, labels), {}, {meter: [value]}
                )
