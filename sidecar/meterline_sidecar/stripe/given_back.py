"""What of an invoice's payments Stripe gave back, as it says it now.

Events come in any order, and some never: what a charge comes to is asked for, and a
refund that failed is money that did not go back.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from meterline_sidecar.stripe.calls import StripeCalls, in_path, part_of, read_all

REFUNDED: Final = "charge.refunded"
DISPUTED: Final = "charge.dispute.closed"
NOT_GIVEN_BACK: Final = frozenset({"failed", "canceled"})
"""States of a refund whose money stays, or came back.

Source: docs.stripe.com/api/refunds/object and docs.stripe.com/refunds#failed-refunds,
read 2026-11-28.
"""


async def charge_now(stripe: StripeCalls, charge_id: str) -> dict[str, Any]:
    """Return a charge, with what was really refunded of it.

    Raises:
        StripeRefused, RetryLater: as ``read_all``.
    """
    charge = await stripe.call("get", f"/v1/charges/{in_path(charge_id)}")
    return await _without_failed(stripe, charge)


async def given_back(
    stripe: StripeCalls, stripe_id: str
) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Yield what webhooks say of the money of an invoice, each with its event's type.

    Two reads, and more only where something was given back.

    Raises:
        StripeRefused, RetryLater: as ``read_all``.
    """
    for payment in await read_all(
        stripe, "/v1/invoice_payments", {"invoice": stripe_id}
    ):
        for charge in await _charges_of(stripe, part_of(payment, "payment")):
            yield REFUNDED, await _without_failed(stripe, charge)
            if charge.get("disputed"):
                query = {"charge": charge["id"]}
                for dispute in await read_all(stripe, "/v1/disputes", query):
                    yield DISPUTED, dispute


async def _charges_of(
    stripe: StripeCalls, payment: Mapping[str, Any]
) -> list[dict[str, Any]]:
    intent, charge = payment.get("payment_intent"), payment.get("charge")
    if isinstance(intent, str):
        return await read_all(stripe, "/v1/charges", {"payment_intent": intent})
    if isinstance(charge, str):
        return [await stripe.call("get", f"/v1/charges/{in_path(charge)}")]
    return []  # paid elsewhere


async def _without_failed(
    stripe: StripeCalls, charge: dict[str, Any]
) -> dict[str, Any]:
    """Return a charge without refunds that failed: nobody says whether it counts them."""
    if not charge.get("amount_refunded"):
        return charge
    refunds = await read_all(stripe, "/v1/refunds", {"charge": charge["id"]})
    units = sum(
        int(one["amount"]) for one in refunds if one.get("status") not in NOT_GIVEN_BACK
    )
    return {**charge, "amount_refunded": units}
