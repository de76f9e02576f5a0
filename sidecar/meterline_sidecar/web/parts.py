"""The running parts of a sidecar, as the HTTP side sees them."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.billing.at_stripe import AtStripe
from meterline_sidecar.billing.attention import Attention
from meterline_sidecar.billing.closing import Closer
from meterline_sidecar.billing.collection import Collection
from meterline_sidecar.billing.credits import Credits
from meterline_sidecar.billing.desk import Desk
from meterline_sidecar.billing.documents import Issuer
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.clock import AbsenceWatch, Clock, JumpWatch
from meterline_sidecar.config.shape import Config
from meterline_sidecar.fleet.door import Door
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.forwarder import Forwarder
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.fleet.raw_events import RawEvents
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.corrections import Corrections
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.external import External
from meterline_sidecar.ingest.held import Held
from meterline_sidecar.ingest.imports import Imports
from meterline_sidecar.ingest.late import Late
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ledger.archive import Archive
from meterline_sidecar.ledger.archive_watch import ArchiveWatch
from meterline_sidecar.ledger.erase import Eraser
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.meters import Meter
from meterline_sidecar.schedule import Schedule
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.stripe.service import StripeService
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.terms.sign_ups import SignUps
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.web.answers.reload import Reloaded


class Files(Protocol):
    """The files of the configuration, and what they say."""

    @property
    def config(self) -> Config:
        """What they say, as far as it holds."""
        ...

    @property
    def unlike(self) -> tuple[str, ...]:
        """What they say and does not hold, in words: nobody has loaded it."""
        ...

    async def preview(self, *, reason: str = "") -> Reloaded:
        """Return what reading them again would change."""
        ...

    async def reload(self, *, author: str, reason: str = "") -> Reloaded:
        """Read them again."""
        ...

    async def adopt(self, customer_id: str, *, author: str) -> tuple[str, ...]:
        """Let them look after a customer; return what changes by that."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What ``daemon/assemble.py`` put together."""

    files: Files
    clock: Clock
    watch: JumpWatch | None
    """Notices when the clock is set; ``None`` for one that is set on purpose."""
    absence: AbsenceWatch | None
    """Doubts a clock that is far ahead at the start; likewise."""
    started_ms: int
    alarm: str | None
    """Why the ledger is not trusted, so that nothing is billed (``integrity.py``)."""
    database: Ledger
    leading: Leading
    """Whether this process leads, where several share the ledger."""
    ingest: Ingest
    external: External
    """Takes what comes over HTTP."""
    held: Held
    corrections: Corrections
    imports: Imports
    """Takes files of events."""
    late: Late
    receiver: Receiver
    aggregator: Aggregator
    archive: Archive
    """Moves events that are old out of the ledger, and back."""
    archive_watch: ArchiveWatch
    """Knows which files of the archive are not where they were put."""
    raw_events: RawEvents
    """Finds raw events of edges: in the files that they wrote, and by asking them."""
    packer: Packer | None
    """Packs events whose time is over; ``None`` for a ledger on a server."""
    eraser: Eraser
    """Takes names out of the ledger."""
    billing: Billing
    invoices: Invoices
    standings: Standings
    attention: Attention
    """What a person should look at before money is missing."""
    credits: Credits
    issuer: Issuer
    """Gives invoices and credit notes their numbers."""
    collection: Collection
    """Knows what becomes of invoices that are final."""
    desk: Desk
    closer: Closer
    """Makes periods final."""
    schedule: Schedule
    on_fatal: Callable[[BaseException], None]
    """Is told of an error after which the process must end."""
    customers: CustomerIndex
    terms: TermsKeeper
    """What was agreed, and the one place that changes it."""
    sign_ups: SignUps
    tokens: TokenFile
    portal_key: bytes
    """Signs the links to the customer's page."""
    stripe: StripeService
    at_stripe: AtStripe
    """Plans which final invoices are collected through Stripe."""
    drain: Drain
    forwarder: Forwarder | None = None
    """Of an edge: sends on what it takes in."""
    edges: Edges | None = None
    """Of a centre: who sends to it."""
    door: Door | None = None
    """Likewise: where they come in."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the process is about to end: whoever streams should stop."""

    @property
    def config(self) -> Config:
        """What the files say, as far as it holds."""
        return self.files.config

    def locale_of(self, customer_id: str) -> str | None:
        """Return as whom people write who read what is made for a customer."""
        customer = self.customers.get(customer_id)
        own = None if customer is None else customer.locale
        return own or self.config.seller.locale

    @property
    def meters(self) -> list[Meter]:
        """The meters of the configuration, in its order."""
        return [config.meter for config in self.config.meters]

    @property
    def shown_meters(self) -> list[Meter]:
        """Those that are not hidden."""
        return [one.meter for one in self.config.meters if not one.is_hidden]
