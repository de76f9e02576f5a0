"""Corrects what was recorded: events that do not count, and events in their place.

No event is changed. A correction is rows of its own: which events are void by it, or
count again, and one more event, stored as all are, which gives it a place in their order.
Whoever counts beyond that place knows the correction, and nobody before: so usage is a
function of the events up to one, as ever.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from meterline.events import Flag, Kind
from meterline_sidecar.clock import Clock
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Piece, Producer
from meterline_sidecar.ingest.correction_plans import CorrectionRefused, Plan
from meterline_sidecar.ingest.own_producer import own_row
from meterline_sidecar.ledger.corrections import digest_of
from meterline_sidecar.store.edge import corrections as store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge.begin import check_here
from meterline_sidecar.store.edge.corrections import CorrectionRow, NewCorrection
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.usage.aggregate import Aggregator

SHOWN_AS: Final = "(correction)"
"""The route of a correction's own event, for who reads lists of events."""
STEP_EVENTS: Final = 5_000  # noted in one transaction, while others wait for it
OWN_APP: Final = "meterline"
OWN_PRODUCER: Final = "corrections_producer"
"""The fact that says under which id events of corrections are stored."""


class Journal(Protocol):
    """Links rows, so that one that is changed later is found."""

    async def link(self, tx: Tx, entry: str, row_id: int) -> None:
        """Link a row that was written in this transaction."""
        ...


class Asked(NamedTuple):
    """Who asks for a correction, why, and in which words."""

    author: str
    reason: str
    query: str = "{}"
    """JSON: what was asked for."""
    key: str | None = None
    """What whoever asks calls it: asked again under it, it counts once."""


class Corrections:
    """Plans corrections, and makes them.

    Args:
        ingest: stores their events.
        journal: links them.
        aggregator: counts them.
        leads: says whether this process makes them by itself, where several write.
    """

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        journal: Journal,
        aggregator: Aggregator,
        *,
        clock: Clock,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self._leads = leads
        self._database = database
        self._ingest = ingest
        self._journal = journal
        self._aggregator = aggregator
        self._clock = clock
        self._making = asyncio.Lock()

    @property
    def can_make(self) -> bool:
        """Whether anybody commits: not before the start, nor behind the end.

        Of several processes the one that leads makes them.
        """
        return self._ingest.is_running and self._leads()

    async def make(self, plan: Plan, asked: Asked) -> CorrectionRow:
        """Make a correction, and return it once usage knows it.

        One that was asked for under the same key is returned as it was made.

        Raises:
            CorrectionRefused: its key is that of another one, or the events have been
                corrected by somebody else since it was planned.
            ArchiveFailed: events of the same hours left the ledger for a file that
                cannot be read.
            RetryLater: it cannot be stored now.
        """
        async with self._making:
            known = await self._known(asked)
            if known is not None:
                return known
            await self._check_unchanged(plan)
            await self._aggregator.check_readable(plan.hours)
            event_id = await self._store(plan, asked)
        await self._aggregator.run(beside=False)
        async with self._database.reading() as tx:
            made = await store.correction_in(tx, event_id - 1, event_id)
        assert made is not None, "it was stored"
        return made

    async def known(self, asked: Asked) -> CorrectionRow | None:
        """Return the correction that was made under this key, if any.

        Raises:
            CorrectionRefused: something else was asked for under it.
        """
        return await self._known(asked)

    async def _known(self, asked: Asked) -> CorrectionRow | None:
        if asked.key is None:
            return None
        async with self._database.reading() as tx:
            known = await store.correction_by_key(tx, asked.key)
        if known is None or known.query == asked.query:
            return known
        raise CorrectionRefused(
            f"correction {known.id} has the key {asked.key}, and something else was"
            " asked for; nothing was corrected"
        )

    async def _check_unchanged(self, plan: Plan) -> None:
        """Make sure that what a plan changes still is as it was planned."""
        if not plan.changed:
            return
        async with self._database.reading() as tx:
            last_id = await event_log.last_event_id(tx)
            marks = await store.marks_in(
                tx, min(plan.changed) - 1, max(plan.changed), up_to_event=last_id
            )
            await check_here(tx, min(plan.changed) - 1)
        is_void = {event_id: mark.is_void for event_id, mark in marks.items()}
        if any(
            is_void.get(event_id, False) == becomes
            for event_id, becomes in plan.changed.items()
        ):
            raise CorrectionRefused(
                "these events were corrected by somebody else just now; look again"
            )

    async def _store(self, plan: Plan, asked: Asked) -> int:
        """Store a correction with its events, and return the id of its own."""
        async with self._database.transaction() as tx:
            row = await own_row(
                tx, OWN_PRODUCER, app=OWN_APP, now_ms=self._clock.now_ms()
            )
            correction_id = await store.next_id(tx)
        await self._note(plan, correction_id)
        now_ms = self._clock.now_ms()
        events = [
            event._replace(seq=row.last_seq + 1 + i)
            for i, event in enumerate([*plan.added, _own_event(now_ms)])
        ]
        own_ids: list[int] = []

        async def note(tx: Tx, first_id: int) -> None:
            added = {first_id + i: False for i in range(len(plan.added))}
            await store.add_events(tx, correction_id, added.items())
            changed = {**plan.changed, **added}
            own_id = first_id + len(plan.added)
            new = NewCorrection(
                kind=plan.kind,
                key=asked.key,
                query=asked.query,
                reverts=plan.reverts,
                first_event_id=first_id,
                event_id=own_id,
                events=len(changed),
                digest=digest_of(changed.items()),
                corrected_ms=now_ms,
                author=asked.author,
                reason=asked.reason,
            )
            row_id = await store.add_correction(tx, new)
            assert row_id == correction_id, "only this makes any"
            await self._journal.link(tx, "corrections", row_id)
            own_ids[:] = [own_id]

        piece = Piece(
            Producer(row, next_seq=row.last_seq + 1),
            events[-1].seq,
            events[-1].seq,
            events=events,
            unattributed=sum(event.subject is None for event in events),
            is_bye=True,  # nobody is connected
            when_stored=note,
        )
        storing = self._ingest.append(piece)
        # Not awaited itself: who is cancelled here must not cancel the storing.
        await asyncio.wait([storing])
        storing.result()
        (own_id,) = own_ids
        return own_id

    async def _note(self, plan: Plan, correction_id: int) -> None:
        """Note the events of a correction that is not there yet, in steps.

        They mean nothing before it is; what one that was cut off has left is deleted.
        """
        n_left = STEP_EVENTS
        while n_left == STEP_EVENTS:
            async with self._database.transaction() as tx:
                n_left = await store.clear_events(tx, correction_id, limit=STEP_EVENTS)
        rows = list(plan.changed.items())
        for start in range(0, len(rows), STEP_EVENTS):
            async with self._database.transaction() as tx:
                await store.add_events(
                    tx, correction_id, rows[start : start + STEP_EVENTS]
                )


def _own_event(now_ms: int) -> EventRow:
    """Return a correction's own event, without its number."""
    return EventRow(
        *(0, now_ms, int(Kind.USE), None, "", SHOWN_AS, 0, 0, 0, 0),
        flags=int(Flag.CORRECTION),
        quantities=None,
    )
