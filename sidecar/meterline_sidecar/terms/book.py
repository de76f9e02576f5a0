"""All terms in memory: what held at any moment, as far as it was learned."""

from collections.abc import Collection, Iterable, Iterator
from datetime import date
from sys import intern
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from meterline_pricing import NotFound, Override, Plan
from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.terms import Kind, Source, TermRow, terms_after
from meterline_sidecar.terms.change import (
    ALWAYS,
    CustomerChange,
    MeterChange,
    PlanChange,
    RuleChange,
    decode,
    given,
    renamed,
)
from meterline_sidecar.terms.claims import Claims
from meterline_sidecar.terms.learned import KINDS, Learned
from meterline_sidecar.terms.rows import Entry, Rows

__all__ = ["ALWAYS", "AgreedCustomer", "Entry", "Terms", "timeline", "value_at"]

ROWS_PER_READ: Final = 5_000


class AgreedCustomer(Struct, frozen=True, kw_only=True):
    """A customer as agreed at one moment."""

    id: str
    source: Source
    """Who looks after this customer: a file, or the API."""
    name: str = ""
    address: tuple[str, ...] = ()
    tax_id: str | None = None
    email: str | None = None
    locale: str | None = None
    plan: str | None = None
    plans: tuple[HeldPlan, ...] = ()
    overrides: tuple[Override, ...] = ()
    subjects: tuple[str, ...] = ()
    time_zone: str = "UTC"
    anchor: date | None = None
    starts: date | None = None
    ends: date | None = None
    stripe_customer: str | None = None
    is_removed: bool = False


class Terms:
    """Every row of terms, in the order in which it was learned.

    Of two rows that say something about one moment the later one holds: a row says
    what is so from its time on, whatever was said before about that time.
    """

    def __init__(self) -> None:
        self.row_id = 0
        """The last row that is known here."""
        self.learned_until_ms = 0
        """When the newest row was learned."""
        self.claims = Claims()
        """Who claims which subjects."""
        self._rows: dict[Kind, Rows] = {kind: Rows(kind) for kind in KINDS}
        self._by_stripe: dict[str, str] = {}
        """By a customer's ID at Stripe: who said last that it is theirs."""
        self._plan_row = 0
        """The last row about a plan."""
        self._learned = Learned()

    async def catch_up(self, tx: Tx) -> None:
        """Take in what the ledger knows and this does not."""
        while rows := await terms_after(tx, self.row_id, limit=ROWS_PER_READ):
            self.learn(rows)

    def learn(self, rows: Iterable[TermRow]) -> None:
        """Take in those of these rows that are not known: somebody may have been faster."""
        self.add(row for row in rows if row.id > self.row_id)

    async def read_again(self, tx: Tx) -> None:
        """Take in all that the ledger knows in the place of what is known here.

        A name in it is another one by now.
        """
        fresh = Terms()
        await fresh.catch_up(tx)
        vars(self).update(vars(fresh))

    def add(self, rows: Iterable[TermRow]) -> None:
        """Take rows in, in the order in which they were learned."""
        for row in rows:
            change = decode(row.kind, row.change)
            entry = Entry(
                row.id,
                row.from_ms,
                row.learned_ms,
                row.source,
                bool(row.reaches_final),
                change,
            )
            name = intern(row.name)  # one text in all places that know it
            self._rows[row.kind].add(name, entry)
            self.row_id = row.id
            self.learned_until_ms = max(self.learned_until_ms, row.learned_ms)
            self._learned.add(row.id, row.kind, name)
            if row.kind == "plan":
                self._plan_row = row.id
            if isinstance(change, CustomerChange):
                self.claims.change(
                    name, entry.from_ms, change, learned_ms=entry.learned_ms
                )
                if change.stripe_customer:
                    self._by_stripe[change.stripe_customer] = name

    def rename_subject(self, name: str, alias: str) -> None:
        """Put an alias in the place of a subject's name, whenever it was claimed."""
        customers = self._rows["customer"]
        for customer in list(customers.names):
            entries = customers.of(customer)
            if any(name in _claimed(entry) for entry in entries):
                changed = [
                    entry._replace(change=renamed(entry.change, name, alias))
                    for entry in entries
                ]
                customers.put(customer, changed)
        self.claims.rename(name, alias)

    def followed_by(self, rows: Iterable[TermRow]) -> "Terms":
        """Return a copy with more rows, to ask what would hold.

        Its claims are those of the rows alone: whose a subject would be is not asked.
        """
        copy = Terms()
        copy.row_id = self.row_id
        copy.learned_until_ms = self.learned_until_ms
        copy._rows = {kind: rows.copy() for kind, rows in self._rows.items()}
        copy._plan_row = self._plan_row
        copy._by_stripe = dict(self._by_stripe)
        copy._learned = self._learned.copy()
        copy.add(rows)
        return copy

    def corrected(self, customer_id: str, *, known_row: int) -> "Terms":
        """Return what holds for one customer in a period that was made final.

        That is what was known by a row, and what was meant to reach into final periods
        since. A plan that is taken by that has the versions that came since, too; what
        was known of it reads as it did.
        """
        kept = Terms()
        kept.row_id = self.row_id
        known = [
            entry
            for entry in self.entries("customer", customer_id)
            if entry.row_id <= known_row or entry.reaches_final
        ]
        kept._rows["customer"].put(customer_id, known)
        until: dict[str, int] = {}
        for entry in kept.entries("customer", customer_id):
            assert isinstance(entry.change, CustomerChange)
            if isinstance(entry.change.plan, str):
                until[entry.change.plan] = entry.row_id
            for held in entry.change.plans or ():
                until[held.plan] = entry.row_id
        for name, row_id in until.items():
            versions = self._plan_known(name, known_row, new_until_row=row_id)
            kept._rows["plan"].put(name, list(versions))
        return kept

    def _plan_known(
        self, name: str, known_row: int, *, new_until_row: int
    ) -> Iterator[Entry]:
        """Yield the rows about a plan up to one, and versions that are new after it."""
        versions: set[int] = set()
        for entry in self.entries("plan", name):
            assert isinstance(entry.change, PlanChange)
            if entry.row_id <= known_row:
                versions.add(entry.change.version)
                yield entry
            elif entry.row_id < new_until_row and entry.change.version not in versions:
                yield entry

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever agreed: then what comes first holds always."""
        return self.row_id == 0

    def names(self, kind: Kind) -> Collection[str]:
        """Return the names of all that was ever agreed of a kind."""
        return self._rows[kind].names

    def entries(self, kind: Kind, name: str) -> tuple[Entry, ...]:
        """Return the rows about one thing, in the order in which they were learned."""
        return self._rows[kind].of(name)

    def count(self, kind: Kind, name: str) -> int:
        """Return how many rows there are about one thing."""
        return self._rows[kind].count(name)

    def learned_after(self, row_id: int) -> Iterator[tuple[Kind, str]]:
        """Yield what each row behind an id is about, in the order they were learned."""
        return self._learned.after(row_id)

    # --- customers

    def customer(self, customer_id: str, at_ms: int) -> AgreedCustomer | None:
        """Return a customer as agreed at a moment; ``None``: there never was one.

        Before a customer's first row that row holds, too: a customer has no time
        without a name or a zone.
        """
        entries = self.entries("customer", customer_id)
        if not entries:
            return None
        first = min(entry.from_ms for entry in entries)
        values: dict[str, Any] = {}
        for entry in entries:
            if entry.from_ms <= max(at_ms, first):
                assert isinstance(entry.change, CustomerChange)
                values |= given(entry.change)
        values.pop("unclaimed_from_ms", None)
        return AgreedCustomer(id=customer_id, source=entries[-1].source, **values)

    def customer_at_stripe(self, stripe_customer: str) -> str | None:
        """Return whose ID at Stripe this is by the last row about it, if anybody's."""
        owner = self._by_stripe.get(stripe_customer)
        if owner is None:
            return None
        steps = self.field(owner, "stripe_customer")
        return owner if steps[-1][1] == stripe_customer else None

    def field(self, customer_id: str, name: str) -> list[tuple[int, Any]]:
        """Return what one field of a customer is from when on, in order of time."""
        return timeline(
            (entry.from_ms, value)
            for entry in self.entries("customer", customer_id)
            if (value := getattr(entry.change, name)) is not UNSET
        )

    def learned_ms(self, customer_id: str) -> int:
        """Return when a customer was first heard of."""
        return self.entries("customer", customer_id)[0].learned_ms

    def rows_of_calendar(self, customer_id: str) -> tuple[int, int]:
        """Return what differs once a customer's calendar may be another."""
        return self.count("customer", customer_id), self._plan_row

    def plans_of(self, customer_id: str) -> set[str]:
        """Return all plans that a customer has been on, or will be."""
        found = {
            name for _, name in self.field(customer_id, "plan") if name is not None
        }
        for _, plans in self.field(customer_id, "plans"):
            found |= {held.plan for held in plans}
        return found

    # --- plans

    def plan_held(self, name: str, *, day: date, at_ms: int) -> Plan:
        """Return the version of a plan that holds, as it reads at a moment.

        Args:
            day: on which it was taken, or the period began.

        Raises:
            NotFound: there is no such plan, or no version of it holds then.
        """
        versions = self.plan_versions(name, at_ms, withdrawn=True)
        # Who is on a version that is not offered any more stays on it.
        for offered in (self.plan_versions(name, at_ms), versions):
            held = [plan for plan in offered.values() if plan.effective <= day]
            if held:
                return max(held, key=lambda plan: plan.effective)
        if not versions:
            raise NotFound(f"there is no plan `{name}`")
        first = min(plan.effective for plan in versions.values())
        raise NotFound(
            f"plan `{name}` is not effective on {day}: its first version starts on"
            f" {first}"
        )

    def plan_versions(
        self, name: str, at_ms: int, *, withdrawn: bool = False
    ) -> dict[int, Plan]:
        """Return the versions of a plan as they read at a moment, by number.

        Args:
            withdrawn: also those that are not offered any more, as they last read.
        """
        found: dict[int, Plan] = {}
        for entry in self.entries("plan", name):
            assert isinstance(entry.change, PlanChange)
            if entry.from_ms > at_ms:
                continue
            if entry.change.plan is not None:
                found[entry.change.version] = entry.change.plan
            elif not withdrawn:
                found.pop(entry.change.version, None)
        return found

    def plan_changes_ms(self, name: str) -> Iterator[int]:
        """Yield the times from which a plan reads otherwise, in no order."""
        for entry in self.entries("plan", name):
            yield entry.from_ms

    # --- meters and rules

    def meter(self, name: str, at_ms: int) -> Meter | None:
        """Return what a meter measures at a moment; ``None``: nothing."""
        return next(
            (
                value
                for from_ms, value in reversed(self.meter_timeline(name))
                if from_ms <= at_ms
            ),
            None,
        )

    def meter_timeline(self, name: str) -> list[tuple[int, Meter | None]]:
        """Return what a meter measures from when on, in order of time."""
        return timeline(
            (entry.from_ms, entry.change.meter)
            for entry in self.entries("meter", name)
            if isinstance(entry.change, MeterChange)
        )

    def rules(self, at_ms: int) -> dict[str, str]:
        """Return the plan of whoever signs up, by pattern."""
        found: dict[str, str] = {}
        for pattern in self.names("rule"):
            for entry in self.entries("rule", pattern):
                assert isinstance(entry.change, RuleChange)
                if entry.from_ms > at_ms:
                    continue
                found.pop(pattern, None)
                if entry.change.plan is not None:
                    found[pattern] = entry.change.plan
        return found


def _claimed(entry: Entry) -> tuple[str, ...]:
    assert isinstance(entry.change, CustomerChange)
    subjects = entry.change.subjects
    return () if isinstance(subjects, UnsetType) else subjects


def timeline(rows: Iterable[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return what holds from when on, from rows in the order they were learned.

    A later row holds from its time on, and ends what was said before about that time.
    Equal neighbours are one.
    """
    found: list[tuple[int, Any]] = []
    for from_ms, value in rows:
        while found and found[-1][0] >= from_ms:
            found.pop()
        if not found or found[-1][1] != value:
            found.append((from_ms, value))
    return found


def value_at(steps: list[tuple[int, Any]], at_ms: int, default: Any = None) -> Any:
    """Return what holds at a moment."""
    return next((v for from_ms, v in reversed(steps) if from_ms <= at_ms), default)
