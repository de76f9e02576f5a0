"""What was agreed, with dates, and each call with its time: all is computed from scratch.

Written from the documentation alone, in another way than the product: one list of rows,
searched from its end, and plain sums in Decimal.
"""

import itertools
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from tests.web.final_model.owners import Owners

ZERO: Final = Decimal(0)
CENT: Final = Decimal("0.01")
FIRST_DAY: Final = date(2026, 1, 1)
NEVER: Final = date.max


class Grant(NamedTuple):
    """A prepaid credit."""

    name: str
    amount: Decimal
    expires: date | None


class Coupon(NamedTuple):
    """An amount or a percentage off, for so many periods."""

    name: str
    amount: Decimal | None
    percent: Decimal | None
    periods: int

    def off(self, left: Decimal, taken: Decimal, unit: Decimal) -> Decimal:
        """Return what it takes of what is left, where it took something before."""
        if self.percent is not None:
            return (left * self.percent / 100).quantize(unit, ROUND_HALF_UP)
        assert self.amount is not None
        return min(self.amount - taken, left)


@dataclass(frozen=True)
class PlanText:
    """What the price list says of a plan."""

    currency: str
    unit: Decimal
    """Of a call."""
    fee: Decimal = ZERO
    odd_unit: Decimal | None = None
    """Of what the second meter counts, once there is one."""
    grants: tuple[Grant, ...] = ()
    coupon: Coupon | None = None


class Row(NamedTuple):
    """Something that was said, and from which time of use on it is so."""

    who: str
    what: str
    from_ms: int
    value: Any


class Call(NamedTuple):
    """One call of a subject."""

    time_ms: int
    subject: str
    status: int


class Part(NamedTuple):
    """A part of a period in which one plan holds; ``None``: no plan."""

    start: int
    end: int
    plan: PlanText | None


@dataclass
class Closed:
    """A final invoice: its edges, and how much was known when it was made."""

    start: int
    end: int
    parts: list[Part]
    total: Decimal
    currency: str
    adjusted: "Amounts"
    """What it bills of other periods; or takes back of its own, which was void."""


Amounts = dict[tuple[str, str], Decimal]
"""By period and currency."""


class Owed(NamedTuple):
    """What an invoice asks for."""

    total: Decimal
    currency: str
    adjustments: Amounts
    due: dict[str, Decimal]
    """By currency."""


@dataclass
class Reference:
    """Everything that ever happened."""

    rows: list[Row] = field(default_factory=list[Row])
    calls: list[Call] = field(default_factory=list[Call])
    owners: Owners = field(default_factory=Owners)
    closed: dict[tuple[str, str], Closed] = field(
        default_factory=dict[tuple[str, str], Closed]
    )
    used: dict[tuple[str, str], dict[str, Decimal]] = field(
        default_factory=dict[tuple[str, str], dict[str, Decimal]]
    )
    """By customer and credit: what each period used of it."""
    given: dict[tuple[str, str], set[str]] = field(
        default_factory=dict[tuple[str, str], set[str]]
    )
    """By customer and coupon: the periods that had it."""
    has_grants: bool = True
    """Whether credits pay for anything."""

    def without_grants(self) -> "Reference":
        """Return what is owed where no credit pays, of all that happens from now on."""
        return Reference(self.rows, self.calls, self.owners, has_grants=False)

    # --- what was said

    def say(self, who: str, what: str, from_ms: int, value: Any) -> None:
        """Note that something is so from a time on, unless it is so already."""
        later = [row.value for row in self.changes(who, what) if row.from_ms > from_ms]
        if self.at(who, what, from_ms) != value or any(v != value for v in later):
            self.rows.append(Row(who, what, from_ms, value))

    def changes(self, who: str, what: str) -> list[Row]:
        return [row for row in self.rows if (row.who, row.what) == (who, what)]

    def at(self, who: str, what: str, at_ms: int) -> Any:
        """Return what holds at a time: what was said last about it."""
        for row in reversed(self.rows):
            if (row.who, row.what) == (who, what) and row.from_ms <= at_ms:
                return row.value
        return None

    # --- the calendar of a customer

    def zone(self, who: str, at_ms: int) -> str:
        return str(self.at(who, "zone", at_ms))

    def day(self, who: str, at_ms: int) -> date:
        zone = ZoneInfo(self.zone(who, at_ms))
        return datetime.fromtimestamp(at_ms / 1000, zone).date()

    def edges(self, who: str) -> Iterator[tuple[str, int, int]]:
        """Yield each month's name, first instant, and that of the next one.

        A month ends in the zone that holds when it begins.
        """
        day = FIRST_DAY
        start = midnight(day, self.zone(who, 0))
        while day.year == FIRST_DAY.year:
            beyond = (day + timedelta(days=32)).replace(day=1)
            end = midnight(beyond, self.zone(who, start))
            yield f"{day:%Y-%m}", start, end
            day, start = beyond, end

    def month(self, who: str, at_ms: int) -> tuple[str, int, int]:
        return next(m for m in self.edges(who) if m[1] <= at_ms < m[2])

    def start_of(self, who: str, day: date) -> int:
        """Return a day's first instant; months begin where the one before ended."""
        for _, start, end in self.edges(who):
            at_ms = midnight(day, self.zone(who, start))
            if at_ms < end:
                return max(at_ms, start)
        raise AssertionError("behind the year")

    def absences(self, who: str) -> list[tuple[int, int]]:
        """Return when a customer was taken out, until they came back."""
        found: list[tuple[int, int]] = []
        since = None
        for row in self.changes(who, "here"):
            if not row.value:
                last = self.at(who, "ends", row.from_ms) or NEVER
                day = min(last, self.day(who, row.from_ms))
                since = self.start_of(who, day + timedelta(days=1))
            elif since is not None:
                until = self.start_of(who, self.day(who, row.from_ms))
                if since < until:
                    found.append((since, until))
                since = None
        if since is not None:
            found.append((since, 2**62))
        return found

    def last_ms(self, who: str) -> int:
        """Return behind which time nothing is billed of a customer, as known now."""
        if absences := [a for a in self.absences(who) if a[1] == 2**62]:
            return absences[0][0]
        ends = self.changes(who, "ends")
        if not ends or ends[-1].value is None:
            return 2**62
        return self.start_of(who, ends[-1].value + timedelta(days=1))

    def period(self, who: str, name: str) -> tuple[int, int] | None:
        """Return the billing period of a name; ``None``: nothing is billed in it."""
        start, end = next((s, e) for n, s, e in self.edges(who) if n == name)
        end = min(end, self.last_ms(who))
        if start >= end or any(a <= start and end <= b for a, b in self.absences(who)):
            return None
        return start, end

    # --- what it comes to

    def parts(self, who: str, start: int, end: int) -> list[Part]:
        """Return the parts of a period, and the plan of each, as known now.

        A plan in another currency than the first one waits for the next period.
        """
        cuts = {start}
        plans = {row.value for row in self.changes(who, "plan")}
        for row in self.rows:
            if row.who in plans or (row.who == who and row.what in ("plan", "own")):
                cuts.add(row.from_ms)
        cuts |= {at_ms for absence in self.absences(who) for at_ms in absence}
        inside = sorted(cut for cut in cuts if start <= cut < end)
        found: list[Part] = []
        held = currency = None
        for one, other in itertools.pairwise([*inside, end]):
            name = self.at(who, "plan", one)
            plan = self._plan(who, name, one)
            if plan is not None:
                currency = currency or plan.currency
                held = name if plan.currency == currency else held
                plan = self._plan(who, held, one)
            found.append(Part(one, other, plan))
        return found

    def _plan(self, who: str, name: str | None, at_ms: int) -> PlanText | None:
        if name is None:
            return None
        if any(start <= at_ms < end for start, end in self.absences(who)):
            return None
        text = self.at(name, "text", at_ms)
        own = self.at(who, "own", at_ms)
        if own is not None and name == "basic":
            text = replace(text, unit=own)
        return text if isinstance(text, PlanText) else None

    def counted(self, who: str, meter: str, start: int, end: int) -> int:
        """Return what a meter counted of a customer in a span of time."""
        return sum(
            start <= call.time_ms < end
            and call.status in (self.at(meter, "meter", call.time_ms) or ())
            and self.owner(call.subject, call.time_ms) == who
            for call in self.calls
        )

    def owner(self, subject: str, at_ms: int) -> str | None:
        return self.owners.of((subject, f"{subject.split('_')[0]}_*"), at_ms)

    def total(
        self, who: str, name: str, parts: list[Part], zone: str
    ) -> tuple[Decimal, str]:
        """Return what a period comes to, and keep what it uses up."""
        currency = next(part.plan.currency for part in parts if part.plan)
        parts = [
            part._replace(plan=self._without_used_up(who, name, part.plan))
            for part in parts
        ]
        unit = Decimal(1) if currency == "jpy" else CENT
        days = (day_in(parts[0].start, zone), day_in(parts[-1].end - 1, zone))
        coupon_taken: dict[str, Decimal] = {}
        credit_taken: dict[str, Decimal] = {}
        total = ZERO
        # Parts with one coupon, or none, are one bill.
        for coupon, of_bill in itertools.groupby(
            range(len(parts)), key=lambda i: _coupon_of(parts[i])
        ):
            lines = [
                (i, amount.quantize(unit, ROUND_HALF_UP))
                for i in of_bill
                for amount in self._charges(who, name, parts, i, zone)
            ]
            if coupon is not None:
                before = coupon_taken.get(coupon.name, ZERO)
                taken = coupon.off(sum((a for _, a in lines), ZERO), before, unit)
                coupon_taken[coupon.name] = before + taken
                lines = taken_off(lines, taken, unit)
            for i, of_part in itertools.groupby(lines, key=lambda line: line[0]):
                left = sum((amount for _, amount in of_part), ZERO)
                grants = getattr(parts[i].plan, "grants", ())
                for grant in sorted(grants, key=lambda g: g.expires or NEVER):
                    if not self.has_grants or (grant.expires or NEVER) < days[0]:
                        continue
                    elsewhere = sum(
                        amount
                        for period, amount in self.used.get(
                            (who, grant.name), {}
                        ).items()
                        if period != name
                    )
                    before = credit_taken.get(grant.name, ZERO)
                    taken = min(max(grant.amount - elsewhere - before, ZERO), left)
                    credit_taken[grant.name] = before + taken
                    left -= taken
                total += left
        self._took = (coupon_taken, credit_taken)
        return total, currency

    def _without_used_up(
        self, who: str, name: str, text: PlanText | None
    ) -> PlanText | None:
        """Return a plan without a coupon that other periods have had already."""
        if text is None or text.coupon is None:
            return text
        others = self.given.get((who, text.coupon.name), set()) - {name}
        is_used_up = len(others) >= text.coupon.periods
        return replace(text, coupon=None) if is_used_up else text

    def keep(self, who: str, name: str) -> None:
        """Keep what the period that was computed last uses up."""
        coupons, credits_ = self._took
        for (of, _), periods in self.given.items():
            if of == who:
                periods.discard(name)  # where nothing is taken off any more
        for coupon, taken in coupons.items():
            if taken:
                self.given.setdefault((who, coupon), set()).add(name)
        for key, by_period in self.used.items():
            if key[0] == who:
                by_period.pop(name, None)
        for credit, taken in credits_.items():
            self.used.setdefault((who, credit), {})[name] = taken

    def _charges(
        self, who: str, name: str, parts: list[Part], i: int, zone: str
    ) -> Iterator[Decimal]:
        """Yield the charges that end with a part: what goes on is charged later."""
        plan = parts[i].plan
        if plan is None:
            return
        following = parts[i + 1].plan if i + 1 < len(parts) else None
        for what in ("fee", "unit", "odd_unit"):
            price = getattr(plan, what)
            if price is None or (what == "fee" and not price):
                continue
            if _goes_on(plan, following, what):
                continue
            first = i
            while first > 0 and _goes_on(parts[first - 1].plan, plan, what):
                first -= 1
            start, end = parts[first].start, parts[i].end
            if what == "fee":
                yield price * self._share(who, name, start, end, zone)
            else:
                meter = "calls" if what == "unit" else "odd"
                yield price * self.counted(who, meter, start, end)

    def _share(self, who: str, name: str, start: int, end: int, zone: str) -> Decimal:
        whole = next((s, e) for n, s, e in self.edges(who) if n == name)
        n_days = (day_in(end, zone) - day_in(start, zone)).days
        all_days = (day_in(whole[1], zone) - day_in(whole[0], zone)).days
        return Decimal(n_days) / Decimal(all_days)

    # --- invoices

    def owed(self, who: str, name: str, now_ms: int, *, keep: bool) -> Owed:
        """Return what an invoice asks for; with ``keep`` it is final."""
        saved = deepcopy((self.used, self.given))
        found: Amounts = {}
        mine = [(n, c) for (w, n), c in self.closed.items() if w == who]
        if not keep and self._is_behind_open(who, name):
            mine = []  # the first open period has the differences
        for period, closed in sorted(mine):
            parts = self._grown(who, period, closed, now_ms)
            now, currency = self.total(who, period, parts, self.zone(who, closed.start))
            self.keep(who, period)
            billed = closed.total + sum(self.adjusted(who, period).values())
            if now != billed:
                found[period, currency] = now - billed
        if (who, name) not in self.closed:
            for other, amount in self.adjusted(who, name).items():
                if amount:
                    found[name, other] = -amount
        edges = self.period(who, name)
        assert edges is not None
        parts = self.parts(who, *edges)
        total, currency = self.total(who, name, parts, self.zone(who, edges[0]))
        due = {currency: total}
        for (_, other), amount in found.items():
            due[other] = due.get(other, ZERO) + amount
        if keep:
            self.keep(who, name)
            self.closed[who, name] = Closed(*edges, parts, total, currency, found)
        else:
            self.used, self.given = saved
        return Owed(total, currency, found, due)

    def adjusted(self, who: str, name: str) -> dict[str, Decimal]:
        """Return what invoices of other periods bill of one, by currency."""
        amounts: dict[str, Decimal] = {}
        for (other, _), closed in self.closed.items():
            for (period, currency), amount in closed.adjusted.items():
                if (other, period) == (who, name):
                    amounts[currency] = amounts.get(currency, ZERO) + amount
        return amounts

    def account(self, who: str) -> dict[str, Decimal]:
        """Return what a customer owes by all final invoices, by currency."""
        amounts: dict[str, Decimal] = {}
        for (other, _), closed in self.closed.items():
            if other == who:
                of_this = [(closed.currency, closed.total)]
                of_this += [(key[1], one) for key, one in closed.adjusted.items()]
                for currency, amount in of_this:
                    amounts[currency] = amounts.get(currency, ZERO) + amount
        return {currency: amount for currency, amount in amounts.items() if amount}

    def _is_behind_open(self, who: str, name: str) -> bool:
        """Say whether a period before one could be final and is not."""
        before = itertools.takewhile(lambda edges: edges[0] != name, self.edges(who))
        return any(
            (who, period) not in self.closed and self.period(who, period) is not None
            for period, _, _ in before
        )

    def _grown(self, who: str, name: str, closed: Closed, now_ms: int) -> list[Part]:
        """Return a final period's parts, with what came behind its end since.

        A customer who comes back, or leaves later than was said, has more of a month
        than its final invoice.
        """
        edges = self.period(who, name)
        if edges is None or not closed.end < edges[1] <= now_ms:
            return closed.parts
        last = next(part.plan for part in reversed(closed.parts) if part.plan)
        behind = self.parts(who, closed.end, edges[1])
        return [
            *closed.parts,
            *(
                part._replace(plan=last)
                if part.plan and part.plan.currency != last.currency
                else part
                for part in behind
            ),
        ]


def _coupon_of(part: Part) -> Coupon | None:
    return part.plan.coupon if part.plan else None


def _goes_on(one: PlanText | None, other: PlanText | None, what: str) -> bool:
    """Say whether a price is one over a change: it stayed so, and so did all terms."""
    if one is None or other is None:
        return False
    return one.coupon == other.coupon and getattr(one, what) == getattr(other, what)


def taken_off(
    lines: list[tuple[int, Decimal]], taken: Decimal, unit: Decimal
) -> list[tuple[int, Decimal]]:
    """Return lines less what is taken of all: from each its share, in whole units.

    What is missing goes, a unit each, to those whose share lost most by that.
    """
    whole = sum((amount for _, amount in lines), ZERO)
    if not whole:
        return lines
    shares = [
        Fraction(taken) * Fraction(amount) / Fraction(whole) for _, amount in lines
    ]
    units = [share // Fraction(unit) for share in shares]
    by_loss = sorted(
        range(len(lines)),
        key=lambda i: shares[i] / Fraction(unit) - units[i],
        reverse=True,
    )
    for i in by_loss[: int(taken / unit) - sum(units)]:
        units[i] += 1
    return [
        (at, amount - n * unit) for (at, amount), n in zip(lines, units, strict=True)
    ]


def midnight(day: date, zone: str) -> int:
    start = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int(start.timestamp() * 1000)


def day_in(at_ms: int, zone: str) -> date:
    return datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone)).date()
