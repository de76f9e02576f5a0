"""What the API answers about customers, and what it takes."""

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.web.answers.money import MoneyChange

Owner = Literal["file", "api"]
Day = Annotated[date, Meta(description="A day, such as 2026-12-01.")]


class ShownCustomer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer, as agreed now."""

    id: str
    name: str
    owner: Owner
    """Who looks after them: the files, or the API."""
    is_taken_out: bool
    """Whether the files do not name them any more: they keep what they owe."""
    plan: str | None
    plans: tuple[HeldPlan, ...]
    """What they have beside that."""
    own_prices: tuple[str, ...]
    """The plans of which they have prices of their own."""
    subjects: tuple[str, ...]
    address: tuple[str, ...]
    tax_id: str | None
    email: str | None
    locale: str | None = None
    """How amounts and days are written for them; ``None``: as the seller does."""
    time_zone: str
    anchor: date | None
    """A day on which a billing period begins; ``None``: with the calendar's."""
    starts: date | None
    ends: date | None
    stripe_customer: str | None


class CustomerPage(msgspec.Struct, frozen=True, kw_only=True):
    """Customers, a page of them."""

    customers: list[ShownCustomer]
    next_after: str | None


class CustomerFields(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """What changes about a customer; what is left out stays as it is."""

    name: Annotated[str, Meta(min_length=1, max_length=500)] | UnsetType = UNSET
    address: tuple[str, ...] | UnsetType = UNSET
    """Line by line, as it is to stand on documents."""
    tax_id: str | UnsetType | None = UNSET
    """As it is to stand on documents, such as ``VAT DE123456789``."""
    email: str | UnsetType | None = UNSET
    """Where invoices go."""
    locale: str | UnsetType | None = UNSET
    """How amounts, quantities and days are written for them, such as ``de-DE``; ``null``:
    as the seller does."""
    plan: str | UnsetType | None = UNSET
    """Of the price list; ``null``: none, and so no invoice."""
    plans: Annotated[tuple[HeldPlan, ...], Meta(max_length=50)] | UnsetType = UNSET
    """All that they have beside it, such as add-ons, each maybe from a day to a day. No
    meter may have a price in two of them at one time."""
    subjects: tuple[str, ...] | UnsetType = UNSET
    """All whose usage they pay for; `key_*` stands for all that begins with `key_`."""
    time_zone: str | UnsetType = UNSET
    anchor: Day | UnsetType | None = UNSET
    """A day on which a billing period begins; `null`: with the calendar's months,
    weeks and so on."""
    starts: Day | UnsetType | None = UNSET
    """The first day to bill."""
    ends: Day | UnsetType | None = UNSET
    """The last day to bill."""
    stripe_customer: str | UnsetType | None = UNSET
    overrides: tuple[dict[str, Any], ...] | UnsetType = UNSET
    """Prices of their own: a table for each plan that they have otherwise, as an
    `[[override]]` of the price list without `customer`; none: the plan's own."""
    from_day: Day | None = msgspec.field(default=None, name="from")
    """From when plan, prices, subjects, time zone and anchor hold; by default as with the
    files."""


class NewCustomer(CustomerFields, frozen=True, kw_only=True):
    """A customer who is not there yet."""

    id: str


class CustomerChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A customer after a change."""

    customer: ShownCustomer
    changes: tuple[str, ...]
    """What changed, in words: ``from 2026-12-01 acme: plan basic -> pro``."""
    money: MoneyChange | None = None
    """What that did to what their periods come to; ``None`` for a new customer."""
