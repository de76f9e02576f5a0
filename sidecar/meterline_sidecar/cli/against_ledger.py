"""What loading the files would change, by what the ledger has agreed to."""

import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

from meterline_sidecar.billing.consequences import of_terms
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.across import billed_twice
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import facts, invoices
from meterline_sidecar.store.open import Place, open_reader
from meterline_sidecar.store.port import Readable
from meterline_sidecar.store.terms import is_known
from meterline_sidecar.stripe.account import ACCOUNT
from meterline_sidecar.terms.book import ALWAYS, Terms
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.terms.diff import Diff, Differ
from meterline_sidecar.terms.files import as_agreed, wanted_of
from meterline_sidecar.web.answers.money import MoneyChange
from meterline_sidecar.web.money import shown_money


class CannotCompare(MeterlineError):
    """The ledger cannot be read; the text says why."""


class Compared:
    """The difference between the files and the ledger.

    Args:
        diff: what loading the files would change.
        is_first: whether nothing was ever agreed.
        since: before when nothing changes, as a day; empty where that is no question.
        money: what loading them does to what periods come to.
    """

    def __init__(
        self, diff: Diff, *, is_first: bool, since: str, money: MoneyChange
    ) -> None:
        self.money = money
        self.changes = diff.told
        self.refused = diff.refused
        self.is_first = is_first
        self.since = since

    def lines(self) -> list[str]:
        """Return what a person should know, a line each."""
        if self.is_first:
            return ["nothing is agreed yet: what the files say applies from the start"]
        if not self.changes:
            same = "the ledger has it so already: loading these changes nothing"
            return [] if self.refused else [same]
        before = [f"changes nothing before {self.since}"] if self.since else []
        return [*self.changes, *before]


async def agreed_with(config: Config) -> frozenset[str]:
    """Return the ids of all customers whom the ledger knows; none where there is none.

    Raises:
        CannotCompare: it cannot be read.
    """
    if not config.has_ledger:
        return frozenset()
    async with _open(config.ledger) as reader:
        return frozenset((await _terms(reader)).names("customer"))


async def billed_twice_by(config: Config, *, clock: Clock) -> list[str]:
    """Return what `billed_twice` says of customers whom the files do not name.

    Raises:
        CannotCompare: the ledger cannot be read.
    """
    told = [one.meter.name for one in config.meters if one.bill_through == "meter"]
    rules = config.collect_rules
    if not told or not rules or not config.sidecar.database.exists():
        return []
    async with _open(config.sidecar.database) as reader:
        terms = await _terms(reader)
    in_files = {customer.id for customer in config.customers}
    others = (name for name in terms.names("customer") if name not in in_files)
    customers = (terms.customer(name, clock.now_ms()) for name in others)
    return [
        twice
        for customer in customers
        if customer is not None and (twice := billed_twice(customer, rules, told))
    ]


async def is_agreed_with(config: Config, customer: str) -> bool:
    """Say whether the ledger knows a customer; no, where there is none.

    Raises:
        CannotCompare: it cannot be read.
    """
    if not config.sidecar.database.exists():
        return False
    async with _open(config.sidecar.database) as reader, reader.reading() as tx:
        return await is_known(tx, "customer", customer)


async def bound_account(config: Config) -> str | None:
    """Return which account at Stripe the ledger reports to; ``None``: none yet.

    Raises:
        CannotCompare: the ledger is there and cannot be read.
    """
    if not config.has_ledger:
        return None
    async with _open(config.ledger) as reader, reader.reading() as tx:
        return await facts.get_fact(tx, ACCOUNT)


class Agreed(NamedTuple):
    """What holds of a configuration."""

    config: Config
    waiting: tuple[str, ...]
    """What the files say otherwise, in words: not loaded yet, or refused."""


async def agreed_of(config: Config, *, clock: Clock) -> Agreed:
    """Return what holds of a configuration; all of it, where there is no ledger yet.

    Raises:
        CannotCompare: the ledger is there and cannot be read.
    """
    if not config.has_ledger:
        return Agreed(config, ())
    async with _open(config.ledger) as reader:
        terms = await _terms(reader)
        diff = await _diff(reader, terms, config, clock)
    waiting = () if terms.is_empty else (*diff.told, *diff.refused)
    return Agreed(as_agreed(config, terms, diff.at_ms), waiting)


@contextlib.asynccontextmanager
async def _open(place: Place) -> AsyncGenerator[Readable]:
    try:
        reader = await open_reader(place)
        try:
            yield reader
        finally:
            await reader.close()
    except MeterlineError as error:
        raise CannotCompare(f"the ledger cannot be read: {error}") from error


async def _terms(reader: Readable) -> Terms:
    terms = Terms()
    async with reader.reading() as tx:
        await terms.catch_up(tx)
    return terms


async def _diff(reader: Readable, terms: Terms, config: Config, clock: Clock) -> Diff:
    async with reader.reading() as tx:
        finals = await invoices.final_ends(tx)
    # After a rehearsal the time of the ledger is ahead of this host's.
    now_ms = max(clock.now_ms(), terms.learned_until_ms)
    return Differ(terms, now_ms=now_ms, finals=finals).files(wanted_of(config))


async def compare(config: Config, *, clock: Clock) -> Compared | None:
    """Return what loading the files would change; ``None``: there is no ledger yet.

    Raises:
        CannotCompare: it cannot be read.
    """
    if not config.has_ledger:
        return None
    async with _open(config.ledger) as reader:
        terms = await _terms(reader)
        diff = await _diff(reader, terms, config, clock)
        money = shown_money(await of_terms(reader, terms, diff))
    times = [planned.from_ms for planned in diff.planned if planned.from_ms > ALWAYS]
    calendar = CustomerCalendar([(0, "UTC")])
    since = str(calendar.day(min(times))) if times else ""
    return Compared(diff, is_first=terms.is_empty, since=since, money=money)
