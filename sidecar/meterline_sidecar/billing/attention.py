"""What a person should look at before money is missing: looked for when it is asked.

Looking costs a walk over all customers, so that it is done again only after it has paid
for itself: at most a twentieth of the time goes into it, however many there are.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from meterline_pricing import Period
from meterline_sidecar.billing.close_run import Held
from meterline_sidecar.billing.closing import Closer
from meterline_sidecar.billing.drafts import NotBillable
from meterline_sidecar.billing.in_order import Skipped
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.next_period import NextPeriods
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.billing.standing import Standing
from meterline_sidecar.clock import DAY_MS, Clock, lasting
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, n_of, such_as
from meterline_sidecar.store import attention as store
from meterline_sidecar.store import invoices as invoice_store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.change import CustomerChange
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.terms.oddities import oddities
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.usage.odd import odd_usage

GRACE_MS: Final = 5 * DAY_MS
"""Nobody is told to close a period that has just ended."""
MONTH_MS_MIN: Final = 28 * DAY_MS
LATELY_MS: Final = 35 * DAY_MS
REST: Final = 20
"""How much longer than a look took nothing is looked for again."""
NAMES_SHOWN: Final = 5
MONTHS_SHOWN: Final = 6
SUBJECTS_MAX: Final = 1_000
REMOVED_MAX: Final = 200
"""Customers who left that are looked at one by one."""
CUSTOMERS_PER_STEP: Final = 500  # a few milliseconds; then others go first
PERIODS_PER_LOOK: Final = 200
"""Calendars that one look works out; what they say is kept, and the next goes on."""
PERIODS_PER_STEP: Final = 10


class _Left(NamedTuple):
    """A customer who was taken out, and since when nothing of theirs is final."""

    customer: str
    since_ms: int
    removed_ms: int
    skipped: tuple[Period, ...] = ()
    """Periods before that which were left out."""
    closes: bool = False
    """Whether what is left becomes final without anybody who acts."""


class Attention:
    """Finds what nobody has billed, priced, closed or assigned."""

    def __init__(
        self,
        database: Database,
        terms: Terms,
        standings: Standings,
        invoices: Invoices,
        customers: CustomerIndex,
        next_periods: NextPeriods,
        closer: Closer,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._terms = terms
        self._standings = standings
        self._invoices = invoices
        self._customers = customers
        self._clock = clock
        self._next = next_periods
        self._closer = closer
        self._looking = asyncio.Lock()
        self._found: tuple[Found, ...] | None = None
        self._again_s = 0.0
        self._odd: tuple[Found, ...] = ()
        self._odd_row = -1
        self._skipped = Skipped(terms)

    def forget(self) -> None:
        """Look anew the next time: the configuration is another one."""
        self._found = None

    async def problems(self) -> tuple[Found, ...]:
        """Return what was found; looked for now, unless that was done just before."""
        if self._found is not None and self._looking.locked():
            return self._found
        loop = asyncio.get_running_loop()
        async with self._looking:
            begun_s = loop.time()
            if self._found is None or begun_s >= self._again_s:
                self._found = tuple(await self._look())
                took_s = loop.time() - begun_s
                self._again_s = loop.time() + REST * took_s
        return self._found

    async def _look(self) -> list[Found]:
        now_ms = self._clock.now_ms()
        async with self._database.reading() as tx:
            finals = await invoice_store.final_ranges(tx)
            skipped = await self._skipped.find(tx, finals)
        if self._odd_row != self._terms.row_id:
            self._odd_row = self._terms.row_id
            # In a thread: with many customers it takes longer than an ack may wait.
            self._odd = await asyncio.to_thread(
                lambda: tuple(oddities(self._terms, now_ms=now_ms))
            )
        unclosed, left, gone = await self._walk(
            {name: one.end_ms for name, one in finals.items()}, skipped, now_ms=now_ms
        )
        return [
            *self._odd,
            *await self._of_meters(now_ms),
            *_held(self._closer.held.values()),
            *_unclosed(unclosed, now_ms=now_ms),
            *await self._not_billed(left),
            *await self._learned_late(gone),
            *await self._unassigned(now_ms),
            *_not_priced(self._standings.odd(), has_plans=self._has_plans),
        ]

    async def _of_meters(self, now_ms: int) -> list[Found]:
        named = (self._terms.meter(name, now_ms) for name in self._terms.names("meter"))
        async with self._database.reading() as tx:
            return await odd_usage(tx, [meter for meter in named if meter is not None])

    @property
    def _has_plans(self) -> bool:
        return any(True for _ in self._terms.names("plan"))

    async def _walk(
        self,
        finals: dict[str, int],
        skipped: dict[str, list[Period]],
        *,
        now_ms: int,
    ) -> tuple[dict[Period, list[str]], list[_Left], list[str]]:
        """Return periods that should be closed, and who left: before that, or after."""
        unclosed: dict[Period, list[str]] = defaultdict(list)
        left: list[_Left] = []
        gone: list[str] = []
        n_new = 0
        for i, name in enumerate(list(self._terms.names("customer")), 1):
            if i % CUSTOMERS_PER_STEP == 0:
                await asyncio.sleep(0)
            final_ms = finals.get(name)
            removed_ms = _removed_ms(self._terms, name)
            if removed_ms is not None:
                passed = tuple(skipped.get(name, ()))
                closes = not passed and self._closes(name, final_ms)
                if final_ms is None or final_ms < removed_ms or passed:
                    left.append(_Left(name, final_ms or 0, removed_ms, passed, closes))
                if final_ms is not None and final_ms >= removed_ms:
                    gone.append(name)
            elif name in skipped and not self._next.is_stripes(name, now_ms):
                for one in skipped[name]:
                    unclosed[one].append(name)
            elif final_ms is None or final_ms + MONTH_MS_MIN + GRACE_MS <= now_ms:
                if not self._next.is_known(name, final_ms):
                    n_new += 1
                    if n_new > PERIODS_PER_LOOK:
                        continue
                    if n_new % PERIODS_PER_STEP == 0:
                        await asyncio.sleep(0)
                period = self._next.of(name, final_ms)
                if self._closes(name, final_ms):
                    continue
                if period is None and self._has_ended(name, final_ms):
                    gone.append(name)
                if period is not None and period.end + GRACE_MS <= now_ms:
                    unclosed[period].append(name)
        return unclosed, left, gone

    def _closes(self, name: str, final_ms: int | None) -> bool:
        """Say whether their next period is closed without anybody who acts."""
        return self._closer.closes(name) and self._next.of(name, final_ms) is not None

    def _has_ended(self, name: str, final_ms: int | None) -> bool:
        """Say whether no period is to come that could be final.

        Their last day may be later than the last invoice says: nothing has the rest.
        """
        if final_ms is None:
            return False
        calendar = CustomerCalendar.of(self._terms, name)
        return calendar.next_from(final_ms) is None

    async def _not_billed(self, left: list[_Left]) -> list[Found]:
        """Return who was taken out with usage or fees that no final invoice has."""
        named: dict[bool, list[str]] = {False: [], True: []}
        async with snapshot(self._database) as (tx, at):
            for one in left[:REMOVED_MAX]:
                used_ms = await store.first_use_between(
                    tx,
                    at.generation,
                    customer=one.customer,
                    start=one.since_ms,
                    end=one.removed_ms,
                )
                month = await self._first_due(tx, at, one.customer, one.skipped)
                if month is not None:
                    pass
                elif used_ms is not None:
                    calendar = CustomerCalendar.of(self._terms, one.customer)
                    month = calendar.name_at(used_ms)
                else:
                    month = await self._first_owed(tx, at, one)
                if month is not None:
                    named[one.closes].append(f"{one.customer} ({month})")
        return [
            found(
                "removed_open" if closes else "removed_not_billed",
                f"{n_of(len(names), 'customer')} {'was' if len(names) == 1 else 'were'}"
                " removed with unbilled usage or fees:"
                f" {such_as(names[:NAMES_SHOWN], n_all=len(names))}",
            )
            for closes, names in named.items()
            if names
        ]

    async def _first_owed(self, tx: Tx, at: Counted, left: _Left) -> str | None:
        """Return the first month that comes to something without any usage, if one does."""
        calendar = CustomerCalendar.of(self._terms, left.customer)
        period = self._next.of(left.customer, left.since_ms or None)
        for _ in range(MONTHS_SHOWN):
            if period is None:
                return None
            if await self._first_due(tx, at, left.customer, (period,)) is not None:
                return period.name
            period = calendar.next_from(period.end)
        return None

    async def _first_due(
        self, tx: Tx, at: Counted, name: str, periods: Iterable[Period]
    ) -> str | None:
        """Return the first of these that comes to something, if one does."""
        customer = self._customers.get(name)
        assert customer is not None, "customers are never forgotten"
        for period in periods:
            with contextlib.suppress(NotBillable):
                drawn = await self._invoices.statement(tx, at, customer, period)
                if drawn.due or drawn.also_due:
                    return period.name
        return None

    async def _learned_late(self, gone: list[str]) -> list[Found]:
        """Return who left, and owes something else since their last invoice."""
        named: list[str] = []
        async with snapshot(self._database) as (tx, at):
            for name in gone[:REMOVED_MAX]:
                customer = self._customers.get(name)
                assert customer is not None, "customers are never forgotten"
                try:
                    pending = await self._invoices.pending(tx, at, customer)
                except NotBillable as error:
                    named.append(f"{name} ({error})")
                    continue
                named += [
                    f"{name} ({late.amount} {late.currency} of {late.period})"
                    for late in pending
                ]
        if not named:
            return []
        shown = such_as(named[:NAMES_SHOWN], n_all=len(named))
        return [
            found(
                "removed_not_billed",
                "learned after the last invoice of customers who were removed or have"
                f" ended: {shown}",
                action="bill it, or give it back, by hand; or have the customer back in"
                " the file, without `ends`: it is an adjustment on their next invoice",
            )
        ]

    async def _unassigned(self, now_ms: int) -> list[Found]:
        since_ms = (now_ms - LATELY_MS) // DAY_MS * DAY_MS
        async with snapshot(self._database) as (tx, at):
            names = await store.unassigned_subjects(
                tx, at.generation, since_day_ms=since_ms, limit=SUBJECTS_MAX + 1
            )
        if not names:
            return []
        more = "more than " if len(names) > SUBJECTS_MAX else ""
        n_subjects = n_of(min(len(names), SUBJECTS_MAX), "subject")
        shown = such_as(names[:NAMES_SHOWN], n_all=len(names))
        return [
            found(
                "usage_unassigned",
                f"nobody pays for what {more}{n_subjects} used: {shown}",
            )
        ]


def _removed_ms(terms: Terms, name: str) -> int | None:
    """Return when a customer was taken out; ``None``: they were not, or are back."""
    for entry in reversed(terms.entries("customer", name)):
        assert isinstance(entry.change, CustomerChange)
        if isinstance(entry.change.is_removed, bool):
            return entry.from_ms if entry.change.is_removed else None
    return None


def _held(held: Iterable[Held]) -> Iterator[Found]:
    """Yield what should have become final by itself, and is held up."""
    named = [f"{one.customer} ({one.period.name})" for one in held if not one.is_left]
    if named:
        yield found("period_held", f"not final yet: {_first(named)}")


def _unclosed(unclosed: dict[Period, list[str]], *, now_ms: int) -> Iterator[Found]:
    """Yield the periods that should be closed, the earliest first."""
    months: dict[str, list[str]] = defaultdict(list)
    ended_ms: dict[str, int] = {}
    for period, names in unclosed.items():  # of one name in every zone
        months[period.name] += names
        ended_ms[period.name] = max(ended_ms.get(period.name, 0), period.end)
    for month in sorted(months)[:MONTHS_SHOWN]:
        names = sorted(months[month])
        shown = such_as(names[:NAMES_SHOWN], n_all=len(names))
        who = names[0] if len(names) == 1 else "CUSTOMER"
        yield found(
            "period_not_closed",
            f"{month} ended {lasting(now_ms - ended_ms[month])} ago without a final"
            f" invoice for {n_of(len(names), 'customer')}: {shown}",
            action=f"`meterline close --customer {who} --period {month}`",
        )


def _not_priced(odd: Iterable[Standing], *, has_plans: bool) -> Iterator[Found]:
    """Yield what the running drafts leave out."""
    no_plan: list[str] = []
    meters: list[str] = []
    values: list[str] = []
    for standing in odd:
        name = standing.customer
        if standing.why_not is not None and standing.has_plan:
            yield found("no_draft", f"{name} has no draft: {standing.why_not}")
        elif standing.why_not is not None:
            no_plan.append(name)
        meters += [f"{name} ({meter})" for meter in standing.meters_not_priced]
        values += [f"{name} ({value})" for value in standing.values_not_priced]
    if values:
        text = f"used but without a price: {_first(values)}"
        yield found("value_not_priced", text)
    if meters:
        yield found("meter_not_priced", f"not charged for: {_first(meters)}")
    if no_plan and has_plans:
        yield found("no_plan", f"used without a plan: {_first(no_plan)}")


def _first(names: list[str]) -> str:
    return such_as(names[:NAMES_SHOWN], n_all=len(names))
