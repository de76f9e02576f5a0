"""What the sidecar is told: each key, what it may be, its default and its meaning.

A key is one field here: it is read, checked, and told in ``docs/configuration.md`` and
in the JSON Schema by what stands here. ``keys.py`` says how fields are written.
"""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_pricing import Catalogue
from meterline_sidecar.config.alerts import AlertRule, AlertsConfig
from meterline_sidecar.config.archive import ArchiveConfig, RetentionConfig
from meterline_sidecar.config.billing import BillingConfig, Grace, GraceRule
from meterline_sidecar.config.centre import CentreConfig
from meterline_sidecar.config.collect import CollectRule, Payer, rule_for
from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.config.kinds import (
    BILL_THROUGH,
    CUSTOMER,
    EMAIL,
    LINE,
    LOCALE,
    NAME,
    ORIGIN,
    SIGN_UPS,
    SUBJECT,
    TITLE,
    UNIT,
    ZONE,
    BillThrough,
)
from meterline_sidecar.config.names import Name, Names
from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.config.seller import SellerConfig
from meterline_sidecar.config.sidecar import SidecarConfig
from meterline_sidecar.config.stripe import StripeConfig
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.meters import Meter, Mode
from meterline_sidecar.properties import OTHER, VALUES_MAX

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


class MeterConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A meter, and whether it is reported to Stripe."""

    meter: Meter
    bill_through: Annotated[
        BillThrough,
        Meta(
            description="`meter`: the usage of each hour is reported to a Billing "
            "Meter at Stripe, which prices it. `none`: nothing is reported.",
            extra={"kind": BILL_THROUGH},
        ),
    ] = "none"
    stripe_event_name: Annotated[
        str,
        Meta(
            description="The `event_name` of the meter at Stripe; by default the "
            "meter's name.",
            extra={"default": "the name", "kind": NAME},
        ),
    ]
    stripe_mode: Annotated[
        Mode,
        Meta(
            description="How corrections are reported. `delta`: another event with the"
            " difference, to a Stripe meter that sums. `set`: the whole hour again,"
            " replacing the earlier value, to a meter with `event_time_window = hour`;"
            " required for a `latest` meter.",
            extra={"default": "`delta`; `set` for a `latest` meter"},
        ),
    ]
    title: Annotated[
        str | None,
        Meta(
            description='Its name for people, on pages, documents and in tables: `"API'
            ' calls"`. Programs, prices and files use `name`. A change does not affect'
            " counting, and applies to earlier periods too.",
            extra={"default": "the name", "kind": TITLE},
        ),
    ] = None
    unit: Annotated[
        str | None,
        Meta(
            description='The unit of its quantities, for people: `"tokens"`. `"bytes"`'
            " are shown as kB, MB and so on where space is limited.",
            extra={"kind": UNIT},
        ),
    ] = None
    is_hidden: Annotated[
        bool,
        Meta(
            description="Hide it from customers and overviews. It is counted and"
            " priced like any other, and the API and the page Usage show it; invoice"
            " lines are never hidden.",
            extra={"key": "hidden"},
        ),
    ] = False
    from_day: Annotated[
        date | None,
        Meta(
            description="The day, in UTC, from which this definition applies. By"
            " default, a change applies from the moment it is loaded.",
            extra={"key": "from"},
        ),
    ] = None


class PropertiesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Properties that meters group by (`group_by`)."""

    values_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="How many values of one property are kept apart, across all"
            " customers. The first ones recorded are; later values are added up as"
            f" `{OTHER}`, and `/status` says so. A higher limit applies to events from"
            " then on.",
        ),
    ] = VALUES_MAX


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays, and for whose usage."""

    id: Annotated[
        str,
        Meta(
            description="The permanent, unique id of this customer.",
            extra={"kind": CUSTOMER},
        ),
    ]
    name: Annotated[
        str,
        Meta(description="The customer's display name.", extra={"default": "the id"}),
    ]
    subjects: Annotated[
        tuple[Annotated[str, Meta(extra={"kind": SUBJECT})], ...],
        Meta(
            description="The subjects whose usage this customer pays for. `key_*` "
            "matches every subject that begins with `key_`; of several that match, the"
            " longest wins."
        ),
    ] = ()
    address: Annotated[
        tuple[str, ...],
        Meta(
            description="The customer's address as it appears on documents, line by"
            " line."
        ),
    ] = ()
    tax_id: Annotated[
        str | None,
        Meta(
            description="The customer's tax id as it appears on documents: `\"VAT"
            ' DE1"`.',
            extra={"kind": LINE},
        ),
    ] = None
    email: Annotated[
        str | None,
        Meta(description="Where invoices for the customer go.", extra={"kind": EMAIL}),
    ] = None
    locale: Annotated[
        str | None,
        Meta(
            description="How amounts, quantities and dates are written for the"
            " customer, such as `de-DE`; needs the extra `locale`.",
            extra={"kind": LOCALE, "default": "that of `[seller]`"},
        ),
    ] = None
    plan: Annotated[
        str | None,
        Meta(
            description="The customer's plan in `pricing.toml`; without one there is no invoice."
        ),
    ] = None
    plans: Annotated[
        tuple[HeldPlan, ...],
        Meta(
            description="Further plans, such as add-ons, on the same invoice. No meter"
            " may have a price in two of them. Without `plan`, the first one without"
            " dates is the main plan."
        ),
    ] = ()
    stripe_customer: Annotated[
        str | None, Meta(description="The customer's ID at Stripe: `cus_...`.")
    ] = None
    time_zone: Annotated[
        str,
        Meta(
            description="An IANA name such as `Europe/Berlin`; billing periods begin at"
            " midnight there.",
            extra={"kind": ZONE},
        ),
    ] = "UTC"
    anchor: Annotated[
        date | None,
        Meta(
            description="A day on which a billing period begins; the others are"
            " counted from it. The 31st means the last day in a shorter month. By"
            " default months begin on the 1st, weeks on a Monday, quarters and years"
            " in January."
        ),
    ] = None
    starts: Annotated[
        date | None,
        Meta(
            description="The first day to bill, which cuts its period short. By default "
            "everything is billed."
        ),
    ] = None
    ends: Annotated[
        date | None,
        Meta(description="The last day to bill, which cuts its period short."),
    ] = None
    from_day: Annotated[
        date | None,
        Meta(
            description="The day, in the customer's time zone, from which a change of"
            " `plan`, `subjects`, `time_zone`, `anchor` or the customer's own prices"
            " applies. By default, a plan and prices apply from the beginning of the"
            " day on which they are loaded, subjects from that moment, and a time"
            " zone, an anchor and a plan with periods of another length from the next"
            " period.",
            extra={"key": "from"},
        ),
    ] = None
    is_taken_out: bool = False
    """Whether no file names them any more: they keep what they owe."""


class CustomerRule(msgspec.Struct, frozen=True, kw_only=True):
    """Which subjects become customers by signing up, if nobody else pays for them."""

    match: Annotated[
        str,
        Meta(
            description="A pattern for the subjects, such as `acct_*`. Each becomes a"
            " customer whose id is the subject; the longest matching rule wins.",
            extra={"kind": SIGN_UPS},
        ),
    ]
    plan: Annotated[str, Meta(description="The plan they start with.")]


class PortalConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The customer portal."""

    frame_origins: Annotated[
        tuple[Annotated[str, Meta(extra={"kind": ORIGIN})], ...],
        Meta(
            description="Sites that may embed the page in an iframe, such as "
            "https://app.example.com; none by default."
        ),
    ] = ()
    key_file: Annotated[
        Path | None,
        Meta(
            description="The key that signs links to the page, created at the first "
            "start; next to the database by default. Apps that create links read it "
            "too."
        ),
    ] = None


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that ``meterline.toml`` and ``pricing.toml`` say."""

    file: Path | None
    sidecar: SidecarConfig
    centre: CentreConfig = CentreConfig()
    meters: tuple[MeterConfig, ...] = ()
    properties: PropertiesConfig = PropertiesConfig()
    customers: Sequence[Customer] = ()
    customer_rules: tuple[CustomerRule, ...] = ()
    billing: BillingConfig = BillingConfig()
    grace_rules: tuple[GraceRule, ...] = ()
    collect_rules: tuple[CollectRule, ...] = ()
    seller: SellerConfig = SellerConfig()
    stripe: StripeConfig = StripeConfig()
    portal: PortalConfig = PortalConfig()
    retention: RetentionConfig = RetentionConfig()
    archive: ArchiveConfig = ArchiveConfig()
    alerts: AlertsConfig = AlertsConfig()
    alert_rules: tuple[AlertRule, ...] = ()
    catalogue: Catalogue = Catalogue()
    server: PostgresUrl | None = None
    """Where the ledger is if not in the file of ``sidecar.database``, which is then only
    what the files beside it are called by."""

    @property
    def ledger(self) -> Path | PostgresUrl:
        """Where the ledger is."""
        return self.server or self.sidecar.database

    @property
    def has_ledger(self) -> bool:
        """Whether there is one yet. Its key is made with it, and stays on this host."""
        path = self.sidecar.database
        return path.exists() if self.server is None else LedgerFiles(path).key.exists()

    def with_customers(self, customers: Sequence[Customer]) -> "Config":
        """Return the same with other customers, or none: once agreed they are terms."""
        return msgspec.structs.replace(self, customers=customers)

    @property
    def grace(self) -> Grace:
        """How long periods that are over wait before they become final."""
        return Grace(self.billing, self.grace_rules)

    @property
    def is_edge(self) -> bool:
        """Whether another sidecar bills what this one takes in."""
        return self.sidecar.role == "edge"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the HTTP API."""
        host, _, _port = self.sidecar.http.rpartition(":")
        return self.sidecar.http.startswith("unix:") or host in LOOPBACK

    @property
    def needs_token(self) -> bool:
        """Whether a request without a token is refused."""
        return self.sidecar.require_token or not self.is_local

    @property
    def stripe_bills(self) -> bool:
        """Whether Stripe is told of usage, and so makes invoices of it."""
        return self.stripe.mode == "send" and any(
            meter.bill_through == "meter" for meter in self.meters
        )

    def collects(self, customer_id: str, plan: str | None) -> CollectRule | None:
        """Return how a customer's final invoices are collected; ``None``: by people.

        Where meters are reported to Stripe, that of all says nothing: whose invoices are
        collected there has a rule of their own, or of their plan.
        """
        found = rule_for(self.collect_rules, customer_id, plan)
        if found is None or found.bill_through != "invoice":
            return None
        is_told = any(meter.bill_through == "meter" for meter in self.meters)
        return None if found.is_for_all and is_told else found

    def reports(self, customer: Payer) -> bool:
        """Say whether Stripe is told of a customer's usage, and makes their invoices."""
        return (
            self.stripe_bills
            and customer.stripe_customer is not None
            and self.collects(customer.id, customer.plan) is None
        )

    @property
    def names(self) -> Names:
        """What people call the meters."""
        return Names(
            {
                one.meter.name: Name(
                    title=one.title or one.meter.name,
                    unit=one.unit or "",
                    is_hidden=one.is_hidden,
                )
                for one in self.meters
            }
        )

    @property
    def portal_key_file(self) -> Path:
        """Where the key for the customer's page is kept."""
        beside = LedgerFiles(self.sidecar.database).portal_key
        return self.portal.key_file or beside

    def customer(self, customer_id: str) -> Customer | None:
        """Return the customer with this id."""
        return next((c for c in self.customers if c.id == customer_id), None)
