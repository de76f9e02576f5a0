"""Puts the parts together that turn usage into invoices."""

from collections.abc import Callable
from typing import Any, NamedTuple

from meterline_sidecar.billing.attention import Attention
from meterline_sidecar.billing.close_run import Rules
from meterline_sidecar.billing.closing import Closer
from meterline_sidecar.billing.collection import Collection
from meterline_sidecar.billing.credits import Credits
from meterline_sidecar.billing.desk import Desk
from meterline_sidecar.billing.documents import Issuer
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.lifecycle import Spools
from meterline_sidecar.billing.next_period import NextPeriods
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.port import Database
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.usage.aggregate import Aggregator


class Bills(NamedTuple):
    """The parts that turn usage into what is owed."""

    billing: Billing
    invoices: Invoices
    standings: Standings
    customers: CustomerIndex
    attention: Attention
    credits: Credits
    issuer: Issuer
    collection: Collection
    closer: Closer
    next_periods: NextPeriods
    desk: Desk

    def parts(self) -> dict[str, Any]:
        """Return those that the HTTP side asks, by their names."""
        return {k: part for k, part in self._asdict().items() if k != "next_periods"}

    def use(self, config: Config) -> None:
        """Go by another configuration from now on."""
        self.next_periods.use(config.reports)
        self.closer.use(_closing_rules(config))
        self.attention.forget()


def open_billing(
    config: Callable[[], Config],
    database: Database,
    aggregator: Aggregator,
    keeper: TermsKeeper,
    spools: Spools,
    journal: Journal,
    clock: Clock,
    *,
    alarm: str | None,
) -> Bills:
    """Return the parts, none of which does anything by itself yet.

    Args:
        config: what the files say now.
        spools: what waits elsewhere.
    """
    issuer = Issuer(config, journal)
    terms, billing = keeper.terms, Billing(keeper.terms)
    customers = CustomerIndex(terms, clock=clock)
    invoices = Invoices(
        *(database, billing, aggregator),
        terms=terms,
        spools=spools,
        journal=journal,
        issuer=issuer,
        clock=clock,
        alarm=alarm,
    )
    standings = Standings(
        *(database, invoices, billing, customers),
        terms=terms,
        quiet=keeper.unchanged,
        clock=clock,
    )
    next_periods = NextPeriods(terms, is_reported=config().reports)
    closer = Closer(
        *(database, invoices, aggregator, customers, next_periods),
        terms=terms,
        spools=spools,
        journal=journal,
        quiet=keeper.unchanged,
        on_close=standings.note,
        rules=_closing_rules(config()),
        clock=clock,
        alarm=alarm,
    )
    attention = Attention(
        *(database, terms, standings, invoices, customers, next_periods, closer),
        clock=clock,
    )
    credits_ = Credits(database, journal, clock=clock)
    return Bills(
        *(billing, invoices, standings, customers, attention, credits_),
        *(issuer, Collection(issuer, journal, clock=clock), closer, next_periods),
        desk=Desk(),
    )


def _closing_rules(config: Config) -> Rules:
    return Rules(config.billing.close == "auto", config.grace)
