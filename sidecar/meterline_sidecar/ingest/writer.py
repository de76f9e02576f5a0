"""Writes the events of a transaction: each as a row, or many at once as packs."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import chain, repeat
from operator import attrgetter
from typing import Any, Final

from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.ingest.decode import HELD, due_ms
from meterline_sidecar.store.edge import events as store
from meterline_sidecar.store.edge import held
from meterline_sidecar.store.edge.events import BatchRow, EventRow
from meterline_sidecar.store.edge.pack_at_once import pack_of, packable_of
from meterline_sidecar.store.edge.packed import add_pack
from meterline_sidecar.store.edge.stored import STORED
from meterline_sidecar.store.packs import IDS_MAX
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.terms import set_owners

NOBODY: Final[dict[str | None, int]] = {None: 0}
"""The id of no subject: an event that nobody can be billed for."""
NAMES_CACHED_MAX: Final = 100_000  # subjects and endpoints; more are looked up again
PACKED_FROM: Final = 1_000
"""So many events in a transaction take less time as a pack than as rows, and a
third of the bytes: most of what fewer take is the time of the transaction itself."""
LEFT_PART: Final = 16
"""Of so many events one may be left a row among packed ones: it always stays one. Where
more are, as their texts are long, all are packed an hour later."""

FLAGS: Final = STORED.names.index("flags") - 1
"""Which of the columns behind the id they are."""

_time_ms = attrgetter("time_ms")
_subject = attrgetter("subject")
_endpoint = attrgetter("method", "route")

Written = tuple[BatchRow, list[EventRow]]
"""A batch and its events."""


class EventWriter:
    """Knows the ids of names, and writes events with these.

    Args:
        history_of: who pays for a subject from when on, kept with it.
        learn: takes in what others agreed, before ``history_of`` is asked.
        packed_from: from how many events of a transaction on they are packed; ``None``: none
            ever are.
    """

    def __init__(
        self,
        *,
        history_of: Callable[[str], Sequence[tuple[int, str | None]]],
        learn: Callable[[Tx], Awaitable[None]] | None,
        packed_from: int | None,
    ) -> None:
        self._history_of = history_of
        self._learn = learn
        self._packed_from = packed_from
        self._subjects: dict[str | None, int] = dict(NOBODY)
        self._endpoints: dict[tuple[str, str], int] = {}

    def forget_subjects(self) -> None:
        """Ask the ledger anew who is who: a subject has another name by now."""
        self._subjects = dict(NOBODY)

    def roll_back(self) -> None:
        """Ask for all names anew: the transaction may have added some."""
        self.forget_subjects()
        self._endpoints.clear()

    async def add(self, tx: Tx, written: Sequence[Written]) -> None:
        """Write the events of batches, of which each follows on the one before."""
        written = [one for one in written if one[1]]
        if not written:
            return
        events = list(chain.from_iterable(of_batch for _, of_batch in written))
        producers = tuple(
            chain.from_iterable(
                repeat(batch.producer_id, batch.events) for batch, _ in written
            )
        )
        try:
            columns = [producers, *self._columns(events)]
        except KeyError:  # few have a name that is new
            await self._intern(tx, events)
            columns = [producers, *self._columns(events)]
        await self._add_columns(tx, written[0][0].first_event_id, columns)
        has_flags = columns[FLAGS].count(0) < len(events)
        for batch, of_batch in written:
            await _note_hours(tx, batch, of_batch)
            if has_flags:
                await self._add_held(tx, batch, of_batch)

    def _columns(self, events: list[EventRow]) -> list[tuple[Any, ...]]:
        """Return events as columns in the order of ``StoredEvent``, behind the producer.

        All of it is done by a few calls over all events: this is done for every event.
        The chain covers each field, so that a value in another one's place is found by
        every verification.

        Raises:
            KeyError: one has a name whose id is not known here.
        """
        seqs, times, kinds, subjects, methods, routes, *others = zip(
            *events, strict=True
        )
        names = zip(methods, routes, strict=True)
        return [
            *(seqs, times, kinds, tuple(map(self._subjects.__getitem__, subjects))),
            *(tuple(map(self._endpoints.__getitem__, names)), *others),
        ]

    async def _add_columns(
        self, tx: Tx, first_id: int, columns: Sequence[Sequence[Any]]
    ) -> None:
        n_events, packed_from = len(columns[0]), self._packed_from
        for start in range(0, n_events, IDS_MAX):
            part = [column[start : start + IDS_MAX] for column in columns]
            n_part, first = len(part[0]), first_id + start
            left: Sequence[int] = range(n_part)
            if packed_from is not None and n_part >= packed_from:
                # The newest event stays a row: by it all see how far the ledger is.
                is_last = start + n_part == n_events
                places = packable_of(part, but_last=is_last)
                n_left = n_part - len(places)
                if len(places) >= packed_from and n_left <= 1 + n_part // LEFT_PART:
                    places, body = pack_of(part, places)
                    last, events = first + n_part - 1, len(places)
                    await add_pack(tx, first, last, events=events, body=body)
                    left = _others(places, n_part)
            await _add_rows(tx, first, part, left)

    async def _add_held(self, tx: Tx, batch: BatchRow, events: list[EventRow]) -> None:
        """Note the events that are not counted for now, so that they can be found."""
        rows = [
            held.NewHeld(
                event_id,
                batch.producer_id,
                self._subjects[event.subject],
                event.time_ms,
                batch.learned_ms,
                due_ms(event.time_ms, batch.learned_ms),
            )
            for event_id, event in enumerate(events, batch.first_event_id)
            if event.flags & HELD
        ]
        if rows:
            await held.add_held(tx, rows)

    async def _intern(self, tx: Tx, events: list[EventRow]) -> None:
        """Learn the ids of the names of events, within this transaction."""
        if len(self._subjects) > NAMES_CACHED_MAX:
            self._subjects = dict(NOBODY)
        if len(self._endpoints) > NAMES_CACHED_MAX:
            self._endpoints.clear()
        names = set(map(_subject, events)) - self._subjects.keys()
        endpoints = set(map(_endpoint, events)) - self._endpoints.keys()
        if names:
            texts = [name for name in names if name is not None]
            self._subjects.update(await self._intern_subjects(tx, texts))
        if endpoints:
            found = await store.intern_endpoints(tx, list(endpoints))
            self._endpoints.update(found)

    async def _intern_subjects(self, tx: Tx, names: list[str]) -> dict[str, int]:
        known = await store.subjects_of(tx, names)
        if self._learn is not None:
            await self._learn(tx)
        histories = {n: self._history_of(n) for n in names if n not in known}
        if not histories:
            return known
        # Who pays last stands beside the subject: nearly always that is everybody.
        added = await store.add_subjects(
            tx, [(name, history[-1][1]) for name, history in histories.items()]
        )
        split = {added[n]: of for n, of in histories.items() if len(of) > 1}
        if split:
            await set_owners(tx, split)
        return known | added


def _others(places: Sequence[int], n_places: int) -> Sequence[int]:
    """Return the places that are none of some, in order."""
    if isinstance(places, range):  # from 0 on
        return range(len(places), n_places)
    return sorted(set(range(n_places)).difference(places))


async def _add_rows(
    tx: Tx, first_id: int, columns: Sequence[Sequence[Any]], places: Sequence[int]
) -> None:
    """Add events as rows: those of a run that are in some places."""
    if len(places) == len(columns[0]):
        ids = range(first_id, first_id + len(places))
        await store.add_events(tx, list(zip(ids, *columns, strict=True)))
        return
    rows = [
        (first_id + place, *(column[place] for column in columns)) for place in places
    ]
    await store.add_events(tx, rows)


async def _note_hours(tx: Tx, batch: BatchRow, events: list[EventRow]) -> None:
    first_id = batch.first_event_id
    last_id = first_id + len(events) - 1
    hours = sorted({at_ms // HOUR_MS for at_ms in set(map(_time_ms, events))})
    await store.note_hours(tx, ((hour * HOUR_MS, first_id, last_id) for hour in hours))
