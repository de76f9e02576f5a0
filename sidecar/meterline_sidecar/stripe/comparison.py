"""What a comparison with Stripe's totals found, as pages and commands show it."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from meterline_sidecar.decimals import Number

Verdict = Literal["equal", "missing", "extra", "unresolved", "refused"]
"""``refused``: Stripe did not say, as it does not know the customer, for instance."""

InvoiceVerdict = Literal["equal", "different", "waiting", "held", "refused"]
"""``waiting``: Stripe is not told yet of all of it; ``held``: a person has to look."""


class HourDifference(Struct, frozen=True, kw_only=True):
    """An hour in which the two sides differ."""

    hour: str
    """Its start, UTC."""
    ours: Number
    theirs: Decimal
    rows: tuple[int, ...] = ()
    """The rows of the outbox that tell this hour."""


class ReconciledSeries(Struct, frozen=True, kw_only=True):
    """One customer and meter in a span: here, and at Stripe."""

    customer: str
    stripe_customer: str | None
    """``None`` while nobody said who this is at Stripe."""
    event_name: str
    ours: Number
    """What Stripe should have by now: all rows of closed hours, but those on their way."""
    theirs: Decimal
    waiting: int
    """Rows that are still to be sent, or to be let go by a person."""
    unresolved: int
    """Rows of which nobody knows whether they are counted."""
    failed: int
    """Rows that were refused, dropped or too old."""
    verdict: Verdict
    reason: str | None = None
    """Why Stripe did not say what it has, for ``refused``."""
    is_fresh: bool = False
    """Whether something was sent so recently that Stripe may not have added it up."""
    hours: tuple[HourDifference, ...] = ()


class ByHand(Struct, frozen=True, kw_only=True):
    """What Stripe will not bill by itself."""

    customer: str | None
    """``None`` where nobody pays for it."""
    event_name: str
    month: int
    """The start of the month (UTC) in which it was used, in milliseconds."""
    quantity: Number
    """Below zero where less was used than Stripe billed."""
    reason: str
    amount: Decimal | None = None
    """What it comes to by the customer's plan; ``None`` where nobody can say."""
    currency: str | None = None


class ReconciledInvoice(Struct, frozen=True, kw_only=True):
    """One final invoice: here, and at Stripe."""

    invoice: str
    """Its number."""
    period: str
    stripe_invoice: str | None
    """``None`` before there is a draft."""
    status: str | None
    """At Stripe."""
    ours: int
    """What its items come to, in Stripe's smallest units."""
    theirs: int | None
    verdict: InvoiceVerdict
    differences: tuple[str, ...] = ()
    """Line by line, in words; or why it is held."""
