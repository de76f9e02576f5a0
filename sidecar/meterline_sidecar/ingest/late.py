"""Holds back usage that comes when its period is final, where a meter wants that.

Events that a meter with ``late = "report"`` counts do not count once their period is
final: a correction, made by itself, makes them void, and a person takes it back, or lets
it be. So what is accepted is an adjustment of its old period, as late usage is anyway.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import msgspec

from meterline.events import UNCOUNTED, Flag
from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest.correction_plans import Plan
from meterline_sidecar.ingest.corrections import Asked, Corrections, Journal
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, n_of
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge import corrections
from meterline_sidecar.store.edge import late as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.corrections import CorrectionRow
from meterline_sidecar.store.edge.usage import EventFacts
from meterline_sidecar.store.invoices import CountedPeriod, counted_periods
from meterline_sidecar.store.owned import read_payers
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import Generation, newest_generation
from meterline_sidecar.usage.definition import Definition
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.screened import SCREENED, screened
from meterline_sidecar.usage.values import read_values

STEP_EVENTS: Final = 20_000
BY_ITSELF: Final = "schedule"
_Late = Mapping[tuple[str, str], list[EventFacts]]
"""Late events by customer and period."""


class NoSuchLateUsage(MeterlineError):
    """There is no late usage of this id; the text says where to look."""


class AlreadyDecided(MeterlineError):
    """It was decided about this late usage; the text says how."""


class Late:
    """Late usage: what is held back, and what people decide about it."""

    def __init__(
        self,
        database: Database,
        made: Corrections,
        journal: Journal,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._corrections = made
        self._journal = journal
        self._clock = clock
        self._is_screening = False

    async def screen(self) -> int:
        """Hold back what was counted and came too late; return how many events.

        Called at the end of each run of counting, so also by what it does itself.
        """
        if self._is_screening or not self._corrections.can_make:
            return 0
        self._is_screening = True
        try:
            return await self._screen()
        finally:
            self._is_screening = False

    async def accept(self, late_id: int, *, author: str, reason: str) -> CorrectionRow:
        """Let late usage count, which is billed as an adjustment of its period.

        Raises:
            NoSuchLateUsage: there is none of this id.
            AlreadyDecided: it is accepted already.
            CorrectionRefused, EventsArchived: as ``correction_plans.revert``.
            ArchiveFailed: as ``Corrections.make``.
        """
        async with self._database.reading() as tx:
            await _undecided(tx, late_id, may_be_rejected=True)
        plan = await plans.revert(self._database, late_id)
        return await self._corrections.make(plan, Asked(author, reason))

    async def reject(self, late_id: int, *, author: str, reason: str) -> None:
        """Leave late usage out of billing for good.

        Raises:
            NoSuchLateUsage, AlreadyDecided: as ``accept``.
        """
        async with self._database.transaction() as tx:
            # Here, and not before: somebody else may just be deciding about it.
            await _undecided(tx, late_id, may_be_rejected=False)
            row_id = await store.add_rejection(
                tx,
                late_id,
                rejected_ms=self._clock.now_ms(),
                author=author,
                reason=reason,
            )
            await self._journal.link(tx, "late_rejections", row_id)

    async def problems(self) -> list[Found]:
        """Return what is wrong: that somebody has to decide."""
        async with self._database.reading() as tx:
            n_events = await store.n_waiting(tx)
        if not n_events:
            return []
        text = f"{n_of(n_events, 'late event')} of final periods: not billed by itself"
        return [found("late_usage_waits", text)]

    async def _screen(self) -> int:
        async with self._database.reading() as tx:
            served = await newest_generation(tx)
            assert served is not None, "Aggregator.start() comes first"
            known = await screened(tx, served)
            if known is None or known.up_to_event >= served.cursor:
                return 0
            reporting, after = known
            late: _Late = {}
            if await store.has_come_since(tx, after):
                late = await _late_events(tx, reporting, after, served)
        for (customer, period), events in late.items():
            plan = Plan(
                "late",
                {event.id: True for event in events},
                tuple(event.time_ms for event in events),
            )
            query = msgspec.json.encode({"customer": customer, "period": period})
            why = f"came when {period} was final"
            await self._corrections.make(plan, Asked(BY_ITSELF, why, query.decode()))
        async with self._database.transaction() as tx:
            await facts.put_fact(tx, SCREENED, str(served.cursor))
        return sum(map(len, late.values()))


async def _undecided(tx: Tx, late_id: int, *, may_be_rejected: bool) -> None:
    row = await store.get_late(tx, late_id)
    if row is None:
        raise NoSuchLateUsage(
            f"there is no late usage {late_id}; `meterline late list` has all"
        )
    if row.state == "accepted" or (row.state == "rejected" and not may_be_rejected):
        raise AlreadyDecided(f"late usage {late_id} was {row.state} already")


async def _late_events(
    tx: Tx, reporting: Definition, after_id: int, served: Generation
) -> _Late:
    """Return the events that came when their period was final, and are reported.

    What a person decided about before, or corrected, is none of them.
    """
    payers = await read_payers(tx)
    finals: dict[str, list[CountedPeriod]] = defaultdict(list)
    for one in await counted_periods(tx, since_ms=0):
        finals[one.customer].append(one)
    folder = Folder(
        reporting,
        await counting.endpoints(tx),
        await counting.cuts_between(tx, 0, NEVER_MS),
        values=await read_values(tx, reporting),
        generation=served.id,
    )
    last_id = served.cursor
    late: dict[tuple[str, str], list[EventFacts]] = defaultdict(list)
    skip_flags = UNCOUNTED | int(Flag.RELEASED)
    while after_id < last_id:
        limit = min(STEP_EVENTS, last_id - after_id)
        events, reached = await counting.events_after(
            tx, after_id, skip_flags=skip_flags, limit=limit
        )
        if reached == after_id:
            break
        marks = await corrections.marks_in(tx, after_id, reached, up_to_event=NEVER_MS)
        after_id = reached
        for event in events:
            customer = payers.at(event.subject_id, event.time_ms)
            if customer is None or event.id in marks:
                continue
            for final in finals.get(customer, ()):
                if (
                    final.start_ms <= event.time_ms < final.end_ms
                    and final.counted_up_to_event < event.id
                    and folder.fold([event])
                ):
                    late[customer, final.name].append(event)
    return late
