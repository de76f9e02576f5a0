"""What the sidecar is told: the shape of ``meterline.toml``, and what each key means.

The descriptions here are the reference: ``docs/configuration.md`` is made of them.
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from meterline_pricing import Catalogue
from meterline_sidecar.meters import Meter

HTTP_DEFAULT: Final = "127.0.0.1:8270"
STRIPE_API: Final = "https://api.stripe.com"
STRIPE_METER_EVENTS: Final = "https://meter-events.stripe.com"

BillThrough = Literal["none", "meter"]
StripeMode = Literal["set", "delta"]
SendMode = Literal["dry_run", "send"]


class SidecarConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the daemon listens and keeps things. Paths are relative to the file."""

    socket: Annotated[
        Path,
        Meta(
            description="The Unix socket that the apps send to."
            " Environment: METERLINE_SOCKET."
        ),
    ]
    database: Annotated[
        Path,
        Meta(
            description="The SQLite file that holds the ledger."
            " Environment: METERLINE_DATABASE."
        ),
    ]
    spool_dir: Annotated[
        Path,
        Meta(
            description="Where the apps keep events until they are acked; what a dead"
            " worker left there is drained. Environment: METERLINE_SPOOL_DIR."
        ),
    ]
    http: Annotated[
        str,
        Meta(
            description="Where the HTTP API answers: HOST:PORT on the loopback, or"
            " unix:PATH. Environment: METERLINE_HTTP."
        ),
    ] = HTTP_DEFAULT
    pricing: Annotated[
        Path | None,
        Meta(
            description="The file with the plans; pricing.toml beside this file where"
            " there is one. Environment: METERLINE_PRICING."
        ),
    ] = None
    allowed_uids: Annotated[
        tuple[int, ...],
        Meta(
            description="Users whose apps may send, besides root and the sidecar's own."
        ),
    ] = ()
    aggregate_every_s: Annotated[
        int, Meta(description="How often new events are added up, in seconds.")
    ] = 2


class MeterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A meter, and whether Stripe is told of it."""

    meter: Meter
    bill_through: BillThrough = "none"
    stripe_event_name: str
    stripe_mode: StripeMode = "set"


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays, and for whom."""

    id: str
    name: str
    subjects: tuple[str, ...] = ()
    plan: str | None = None
    stripe_customer: str | None = None
    time_zone: str = "UTC"
    starts: date | None = None


class StripeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How Stripe is reached."""

    mode: Annotated[
        SendMode,
        Meta(
            description="`dry_run` shows what would be sent and sends nothing; `send`"
            " sends."
        ),
    ] = "dry_run"
    api_key_file: Annotated[
        Path | None,
        Meta(
            description="A file that holds the secret or restricted key."
            " Environment, instead of a file: METERLINE_STRIPE_API_KEY."
        ),
    ] = None
    api_base: Annotated[str, Meta(description="Where Stripe's API is.")] = STRIPE_API
    meter_events_base: Annotated[
        str, Meta(description="Where Stripe's stream of meter events is.")
    ] = STRIPE_METER_EVENTS


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``meterline.toml`` and ``pricing.toml`` say."""

    file: Path | None
    sidecar: SidecarConfig
    meters: tuple[MeterConfig, ...] = ()
    customers: tuple[Customer, ...] = ()
    stripe: StripeConfig = StripeConfig()
    catalogue: Catalogue = Catalogue()

    def customer(self, customer_id: str) -> Customer | None:
        """Return the customer with this id."""
        return next((c for c in self.customers if c.id == customer_id), None)
