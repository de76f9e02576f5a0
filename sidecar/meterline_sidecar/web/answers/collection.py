"""What the API takes and answers about what becomes of final invoices."""

from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.store.invoice_states import State
from meterline_sidecar.web.answers.customers import Day
from meterline_sidecar.web.answers.reason import Reason


class InvoiceStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a final invoice."""

    state: State
    at: str
    author: str
    cause: str


class ShownPayment(msgspec.Struct, frozen=True, kw_only=True):
    """Money that came in for an invoice, or was given back."""

    payment: int
    currency: str
    amount: Decimal
    """Below zero it was given back."""
    day: str
    reference: str
    recorded: str
    author: str
    reason: str
    key: str | None


class StepReason(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an invoice takes a step."""

    reason: Reason


class NewPayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payment to record, or one that was given back."""

    amount: Annotated[
        str, Meta(max_length=30, description="A decimal in quotes.", examples=["49.00"])
    ]
    currency: Annotated[
        str | None, Meta(description="That of the invoice by default.")
    ] = None
    day: Day | None = None
    """On which it came in; today by default, never later."""
    reference: Annotated[
        str, Meta(max_length=200, description="What the bank says of it.")
    ] = ""
    reason: Annotated[str, Meta(max_length=500, description="It is kept.")] = ""
    key: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=100,
                description="Your own name of it. The same payment of an invoice"
                " recorded again under the same key counts once: send it again after"
                " an answer that was lost.",
            ),
        ]
        | None
    ) = None
