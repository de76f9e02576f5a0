"""What the API takes and answers about credits."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.web.answers.customers import Day
from meterline_sidecar.web.answers.reason import Reason

CreditKind = Literal["goodwill", "prepaid"]


class NewCredit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credit to grant."""

    amount: Annotated[
        str, Meta(max_length=30, description="A decimal in quotes.", examples=["25.00"])
    ]
    reason: Reason
    """Why; it is kept."""
    currency: Annotated[
        str | None, Meta(description="That of the customer's plan by default.")
    ] = None
    kind: CreditKind = "goodwill"
    """``prepaid``: the customer has paid it in advance."""
    title: Annotated[str, Meta(min_length=1, max_length=60)] | None = None
    """What invoices call it, as the customer reads them. By default what it is, with
    its day: `Prepaid credit of 3 November 2026`."""
    key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=100,
                description="Your own name of it. The same credit granted again under"
                " the same key counts once: send it again after an answer that was"
                " lost.",
            ),
        ]
        | None
    ) = None
    priority: Annotated[int, Meta(ge=0, le=1_000)] = 100
    """The lower one pays first; of equal ones the one that expires first."""
    starts: Day | None = None
    """The first day on which it pays."""
    expires: Day | None = None
    """The last day on which it pays."""


class ShownCredit(msgspec.Struct, frozen=True, kw_only=True):
    """A credit, and what is left of it."""

    credit: int
    title: str
    kind: CreditKind
    currency: str
    amount: Decimal
    used: Decimal
    """By final invoices."""
    in_draft: Decimal
    """By the draft of the running period, so far."""
    left: Decimal
    """Before that draft; 0 where it was ended or has expired."""
    priority: int
    starts: str | None
    expires: str | None
    granted: str
    author: str
    reason: str
    key: str | None
    ended: str | None
    end_reason: str | None


class TermUse(msgspec.Struct, frozen=True, kw_only=True):
    """What a final invoice used of a credit or a coupon."""

    kind: Literal["credit", "coupon"]
    name: str
    """As it is called on invoices."""
    currency: str
    period: str
    """Whose invoice, or what changed since, used it."""
    amount: Decimal
    """Below zero where something was given back."""


class CustomerCredits(msgspec.Struct, frozen=True, kw_only=True):
    """All credits that a customer was granted."""

    customer: str
    credits: tuple[ShownCredit, ...]
    """In the order in which they were granted."""
    uses: tuple[TermUse, ...]
    """Of these, and of credits and coupons of plans that are used up over time."""
