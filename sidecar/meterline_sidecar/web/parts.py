"""The running parts of a sidecar, as the HTTP side sees them."""

import asyncio
from dataclasses import dataclass

from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.held import Held
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.meters import Meter
from meterline_sidecar.schedule import Schedule
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.stripe.service import StripeService
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.usage.aggregate import Aggregator


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What ``daemon/assemble.py`` put together."""

    config: Config
    clock: Clock
    started_ms: int
    alarm: str | None
    """Why the ledger is not trusted, so that nothing is billed (``integrity.py``)."""
    database: Ledger
    ingest: Ingest
    held: Held
    receiver: Receiver
    aggregator: Aggregator
    billing: Billing
    invoices: Invoices
    standings: Standings
    schedule: Schedule
    customers: CustomerIndex
    terms: TermsKeeper
    """What was agreed, and the one place that changes it."""
    tokens: TokenFile
    portal_key: bytes
    """Signs the links to the customer's page."""
    stopping: asyncio.Event
    """Set when the process is about to end: whoever streams should stop."""
    stripe: StripeService
    drain: Drain

    @property
    def meters(self) -> list[Meter]:
        """The meters of the configuration, in its order."""
        return [config.meter for config in self.config.meters]
