"""Closes periods: everybody's, in order, some customers to a transaction.

What is due is found anew from the ledger each time, so that whoever was killed goes on
where they were, and nothing is closed twice. What holds up one customer holds up no
other: it is kept in words, and tried again later.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from itertools import islice
from typing import Final

from meterline_pricing import Period
from meterline_pricing.grid import is_within
from meterline_sidecar.billing.close_piece import Outcome, Ready, close_some
from meterline_sidecar.billing.close_run import Due, DueList, Held, Rules, Run, Wanted
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.lifecycle import (
    Missing,
    Spools,
    check_gaps,
    missing_of,
)
from meterline_sidecar.billing.next_period import NextPeriods
from meterline_sidecar.clock import Clock, format_time_ms
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store import facts
from meterline_sidecar.store import invoices as store
from meterline_sidecar.store.port import Database
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.counted import when_whole

SINCE: Final = "closing_since_ms"
"""The fact that says from when on periods close by themselves."""
LOOK_EVERY_MS: Final = 60_000
PIECE_MAX: Final = 200
NEW_PER_STEP: Final = 20  # calendars; some milliseconds
CUSTOMERS_PER_STEP: Final = 2_000

log = logging.getLogger(__name__)


class Busy(MeterlineError):
    """Something is being closed already."""


Quiet = Callable[[], AbstractAsyncContextManager[None]]
"""Keeps what is agreed as it is while it is open."""


class Closer:
    """Closes what is due, by itself or because somebody asks for it.

    Args:
        quiet: keeps terms unchanged while they are read in the database's thread.
        on_close: is told whose invoice became final.
        alarm: why the ledger is not trusted, if it is not.
    """

    def __init__(
        self,
        database: Database,
        invoices: Invoices,
        aggregator: Aggregator,
        customers: CustomerIndex,
        next_periods: NextPeriods,
        *,
        terms: Terms,
        spools: Spools,
        journal: Journal,
        quiet: Quiet,
        on_close: Callable[[str], None],
        rules: Rules,
        clock: Clock,
        alarm: str | None,
    ) -> None:
        self._database = database
        self._invoices = invoices
        self._aggregator = aggregator
        self._customers = customers
        self._next = next_periods
        self._terms = terms
        self._spools = spools
        self._journal = journal
        self._quiet = quiet
        self._on_close = on_close
        self._rules = rules
        self._clock = clock
        self._alarm = alarm
        self._next_run: Run | None = None
        self._running: Run | None = None
        self._n_runs = 0
        self._looked_ms = -LOOK_EVERY_MS
        self._looked_s = 0.0
        self._awaited_ms: set[int] = set()
        """The ends of periods that waited for edges at the last look."""
        self.held: dict[str, Held] = {}
        """By customer: what should be final by itself and is not."""
        self.in_grace = DueList()
        """What was over and not due yet at the last look."""
        self.asked: Run | None = None
        """The last run that somebody asked for, once it has ended."""
        self.automatic: Run | None = None
        """The last run that nobody asked for and that closed anything."""

    @property
    def rules(self) -> Rules:
        """What the configuration says."""
        return self._rules

    @property
    def running(self) -> Run | None:
        """What is being closed, or is about to be."""
        return self._running or self._next_run

    @property
    def mark(self) -> tuple[object, ...]:
        """Something that differs whenever there is more to be shown."""
        running = self.running
        done = None if running is None else (running.n_due, running.n_closed)
        ended = [run.ended_ms for run in (self.asked, self.automatic) if run]
        return done, ended, len(self.held), len(self.in_grace)

    def closes(self, customer: str) -> bool:
        """Say whether a customer's next period becomes final by itself, or is held up."""
        held = self.held.get(customer)
        return self._rules.is_automatic and not (held is not None and held.is_left)

    def note_final(self, customer: str, period: Period) -> None:
        """Forget what kept a period from being final: somebody has made it so by hand."""
        if (held := self.held.get(customer)) and held.period == period:
            del self.held[customer]
        self.in_grace.drop(customer, period)

    def use(self, rules: Rules) -> None:
        """Take other rules from now on."""
        self._rules = rules
        self._looked_ms = -LOOK_EVERY_MS

    def ask(self, wanted: Wanted) -> Run:
        """Have something closed as soon as ``run`` comes by; return what becomes of it.

        Raises:
            NotBillable: the ledger is not trusted.
            Busy: something else is being closed.
        """
        if self._alarm is not None:
            raise NotBillable(f"the ledger is not trusted: {self._alarm}")
        if self.running is not None:
            raise Busy("periods are being closed; wait for the end of that")
        self._next_run = self._begun(wanted)
        return self._next_run

    def _begun(self, wanted: Wanted) -> Run:
        self._n_runs += 1
        return Run(number=self._n_runs, wanted=wanted, started_ms=self._clock.now_ms())

    async def run(self, *, by_itself: bool = True) -> None:
        """Close what somebody asked for, and what is due by itself."""
        if self._alarm is not None:
            return
        if self._next_run is not None:
            self._running, self._next_run = self._next_run, None
            await self._whole(self._running)
            self._looked_ms = -LOOK_EVERY_MS  # less may be held up now
        now_ms = self._clock.now_ms()
        if by_itself and self._may_find_more(now_ms):
            self._looked_ms, self._looked_s = now_ms, time.monotonic()
            self._awaited_ms.clear()
            since_ms = await self._since_ms(now_ms)
            if since_ms is not None:
                self._running = self._begun(Wanted(is_automatic=True))
                await self._whole(self._running, since_ms=since_ms)

    def _may_find_more(self, now_ms: int) -> bool:
        """Say whether to look for what is due by itself: each minute, and once edges come.

        A minute by either clock: that of a rehearsal may stand still, and one that was
        set shows at once what is due by then.
        """
        # Also where a clock was set back.
        return (
            not 0 <= now_ms - self._looked_ms < LOOK_EVERY_MS
            or time.monotonic() - self._looked_s >= LOOK_EVERY_MS / 1_000
            or any(not self._spools.behind(before_ms=ms) for ms in self._awaited_ms)
        )

    async def _since_ms(self, now_ms: int) -> int | None:
        """Return from when on periods close by themselves; ``None``: they do not.

        What ended before is left to people: they may have had reasons.
        """
        async with self._database.reading() as tx:
            known = await facts.get_fact(tx, SINCE)
        if (known is not None) == self._rules.is_automatic:
            return None if known is None else int(known)
        async with self._database.transaction() as tx:
            if self._rules.is_automatic:
                await facts.put_fact(tx, SINCE, str(now_ms))
                return now_ms
            await facts.drop_fact(tx, SINCE)
        self.held.clear()
        return None

    async def _whole(self, run: Run, *, since_ms: int = 0) -> None:
        try:
            while await self._pass(run, since_ms):
                pass
        except Exception as error:
            run.error = str(error) or type(error).__name__
            raise
        finally:
            run.ended_ms = self._clock.now_ms()
            self._running = None
            if not run.wanted.is_automatic:
                self.asked = run
            else:
                self.held = run.held
                if run.n_closed:
                    self.automatic = run

    async def _pass(self, run: Run, since_ms: int) -> bool:
        """Close each customer's next period; say whether more may be due behind them."""
        due = await self._due(run, since_ms)
        run.n_due += len(due)
        if not due:
            return False
        missing = await self._missing(due)
        if run.wanted.is_automatic:
            self._awaited_ms |= {end for (_, end), one in missing.items() if one.edges}
        await self._aggregator.run()
        n_before = run.n_closed
        rest = self._with_gaps(run, due, missing)
        ready: list[Ready] = []
        while ready := ready + list(islice(rest, PIECE_MAX - len(ready))):
            piece = partial(self._piece, run, ready, missing)
            n_done = await when_whole(piece, self._aggregator.run)
            del ready[:n_done]
        return run.n_closed > n_before and not run.wanted.is_dry

    async def _due(self, run: Run, since_ms: int) -> DueList:
        """Return what is to be closed now; note what waits."""
        wanted, now_ms = run.wanted, self._clock.now_ms()
        async with self._database.reading() as tx:
            finals = await store.closed_ends(tx)
            passed = await self._next.passed(tx, wanted, finals)
        found, waiting = DueList(), DueList()
        async for due in self._over(wanted, finals, passed, now_ms):
            if due.customer in run.held:
                continue
            if wanted.period is not None and not is_within(
                due.period.name, wanted.period
            ):
                if self._comes_first(due, wanted.period):
                    why = f"their {due.period.name} is not final, and comes first"
                    run.held[due.customer] = Held(*due[:2], why)
            elif now_ms < due.grace_end_ms and not wanted.skips_grace:
                waiting.add(due)
            elif wanted.is_automatic and due.period.end <= since_ms:
                run.held[due.customer] = Held(
                    *due[:2],
                    f"{due.period.name} ended before periods closed by themselves, on"
                    f" {format_time_ms(since_ms)}; nobody has closed it: `meterline"
                    f" close --customer {due.customer}` does",
                    is_left=True,
                )
            else:
                found.add(due)
        if wanted.is_automatic:
            self.in_grace = waiting
        return found

    def _comes_first(self, due: Due, wanted: str) -> bool:
        """Say whether what is due is in the way of a period that is wanted."""
        calendar = CustomerCalendar.of(self._terms, due.customer)
        return due.period.name < wanted and calendar.has_within(wanted)

    async def _over(
        self,
        wanted: Wanted,
        finals: dict[str, int],
        passed: Period | None,
        now_ms: int,
    ) -> AsyncIterator[Due]:
        """Yield the next period of each customer that is over; others go between."""
        names: Iterable[str] = list(self._terms.names("customer"))
        if wanted.customer is not None:
            names = [wanted.customer]
        n_new = 0
        for i, name in enumerate(names, 1):
            final_ms = finals.get(name)
            n_new += not self._next.is_known(name, final_ms)
            if i % CUSTOMERS_PER_STEP == 0 or (n_new + 1) % NEW_PER_STEP == 0:
                await asyncio.sleep(0)
            period = passed or self._next.of(name, final_ms)
            if period is not None and period.end <= now_ms:
                plan = partial(self._plan, name, period.end - 1)
                grace_ms = self._rules.grace.of(name, plan)
                yield Due(name, period, period.end + grace_ms)

    def _plan(self, name: str, at_ms: int) -> str | None:
        customer = self._terms.customer(name, at_ms)
        assert customer is not None, "asked for one that there is"
        return customer.plan

    async def _missing(self, due: DueList) -> dict[tuple[int, int], Missing]:
        """Return what has not arrived of each span of time that is to be closed."""
        spans = {(period.start, period.end): period for period, _ in due.periods()}
        return {
            span: await missing_of(
                self._database, self._spools, period, clock=self._clock
            )
            for span, period in spans.items()
        }

    def _with_gaps(
        self,
        run: Run,
        due: Iterable[Due],
        missing: dict[tuple[int, int], Missing],
    ) -> Iterator[Ready]:
        """Yield what is complete, or may be closed as it is, with its gaps in words."""
        gaps: dict[Period, tuple[str, ...] | str] = {}
        """Or why it is not to be closed: of very many customers the same."""
        for one in due:
            if one.period not in gaps:
                found = missing[one.period.start, one.period.end]
                gaps[one.period] = _gaps(run.wanted, one.period, found)
            accepted = gaps[one.period]
            if isinstance(accepted, str):
                run.held[one.customer] = Held(one.customer, one.period, accepted)
            else:
                yield one, accepted

    async def _piece(
        self,
        run: Run,
        ready: Sequence[Ready],
        missing: dict[tuple[int, int], Missing],
    ) -> int:
        """Close some customers in one transaction; return how many were looked at.

        Where one of them meets a fault of ours, nothing of the transaction is kept, and
        fewer are tried, until that one is alone: it is held up, and no other.
        """
        work = partial(
            close_some,
            *(self._invoices, self._customers, self._journal),
            wanted=run.wanted,
            ready=ready,
            missing=missing,
            clock=self._clock,
        )
        outcomes: list[Outcome]
        try:
            async with self._quiet():
                if run.wanted.is_dry:
                    outcomes = await self._database.read(work)
                else:
                    outcomes = await self._database.write(work)
        except MeterlineError:
            raise  # of the disk, or of the ledger as a whole
        except Exception as error:
            if len(ready) > 1:
                return await self._piece(run, ready[: len(ready) // 2], missing)
            log.exception("%s cannot be closed", ready[0][0].customer)
            outcomes = [
                "this is a bug in the sidecar, whose log has the details:"
                f" {type(error).__name__}: {error}"
            ]
        for (due, _gaps), outcome in zip(ready, outcomes, strict=False):
            if isinstance(outcome, str):
                run.held[due.customer] = Held(due.customer, due.period, outcome)
                continue
            run.add(due, outcome)
            if not run.wanted.is_dry:
                self._on_close(due.customer)
        await asyncio.sleep(0)
        return len(outcomes)


def _gaps(wanted: Wanted, period: Period, missing: Missing) -> tuple[str, ...] | str:
    """Return in words what is given up of a period; or why it is not to be closed."""
    try:
        return check_gaps(
            *(period, missing),
            accept_gap=wanted.accepts_gap,
            accept_edge=wanted.accepts_edge,
        )
    except NotBillable as error:
        return str(error)
