"""Charges, what was refunded of them, and disputes over them."""

from dataclasses import dataclass, field
from typing import Any

from tests.stripe_server import errors
from tests.stripe_server.account import Account
from tests.stripe_server.errors import StripeRefusal, answer
from tests.stripe_server.http import Response

Object = dict[str, Any]


@dataclass(slots=True)
class Payments:
    """What customers of an account paid, and got back."""

    account: Account
    payments: list[Object] = field(default_factory=list[Object])
    """Which payment intent paid which invoice."""
    may_read_payments: bool = True
    """Whether the key has the permission."""
    charges: dict[str, Object] = field(default_factory=dict[str, Object])
    refunds: dict[str, Object] = field(default_factory=dict[str, Object])
    disputes: dict[str, Object] = field(default_factory=dict[str, Object])
    may_read_charges: bool = True
    """Whether the key has the permissions for charges, refunds and disputes."""
    takes_failed_off: bool = False
    """Whether a charge counts a refund no longer that failed: nobody says so."""

    def handle(
        self, method: str, path: list[str], fields: Object
    ) -> Response | list[Object] | None:
        """Answer a request, or return what a list is of; ``None``: none of these."""
        if method != "GET":
            return None
        if path == ["invoice_payments"]:
            return self._of_invoices(fields)
        if path[0] in ("charges", "refunds", "disputes") and not self.may_read_charges:
            raise StripeRefusal(403, f"The key may not read {path[0]}.")
        match path:
            case ["charges"]:
                return _listed(self.charges, fields, "payment_intent")
            case ["charges", name]:
                if name not in self.charges:
                    raise errors.missing_resource("charge", name)
                return answer(200, self.charges[name])
            case ["refunds"]:
                return _listed(self.refunds, fields, "charge")
            case ["disputes"]:
                return _listed(self.disputes, fields, "charge")
            case _:
                return None

    def _of_invoices(self, fields: Object) -> list[Object]:
        if not self.may_read_payments:
            raise StripeRefusal(403, "The key may not read invoice payments.")
        wanted = fields.get("payment", {}).get("payment_intent")
        return [
            one
            for one in self.payments
            if wanted in (None, one["payment"]["payment_intent"])
            and fields.get("invoice") in (None, one["invoice"])
        ]

    # --- what customers and their banks do

    def charge(self, invoice: Object, amount: int) -> Object:
        """Let a customer pay for an invoice; return the charge."""
        intent = self.account.new_id("pi")
        self.payments.append(
            {
                "id": self.account.new_id("inpay"),
                "object": "invoice_payment",
                "invoice": invoice["id"],
                "payment": {"type": "payment_intent", "payment_intent": intent},
                "status": "paid",
            }
        )
        made: Object = {
            "id": self.account.new_id("ch"),
            "object": "charge",
            "status": "succeeded",
            "payment_intent": intent,
            "currency": invoice["currency"],
            "amount": amount,
            "amount_refunded": 0,
            "disputed": False,
        }
        self.charges[made["id"]] = made
        return dict(made)

    def refund(self, charge: Object, amount: int) -> Object:
        """Let somebody refund a charge; return the refund."""
        made: Object = {
            "id": self.account.new_id("re"),
            "object": "refund",
            "charge": charge["id"],
            "payment_intent": charge["payment_intent"],
            "currency": charge["currency"],
            "amount": amount,
            "status": "succeeded",
        }
        self.refunds[made["id"]] = made
        self.charges[charge["id"]]["amount_refunded"] += amount
        return made

    def refunded(self, charge: Object, amount: int) -> Object:
        """Do the same; return the charge as its event has it."""
        self.refund(charge, amount)
        return dict(self.charges[charge["id"]])

    def fail(self, refund: Object) -> Object:
        """Let a bank send a refund back; return it."""
        refund["status"] = "failed"
        if self.takes_failed_off:
            self.charges[refund["charge"]]["amount_refunded"] -= refund["amount"]
        return refund

    def dispute(self, charge: Object, status: str) -> Object:
        """Let a customer's bank take all of a charge back; return the dispute."""
        made: Object = {
            "id": self.account.new_id("dp"),
            "object": "dispute",
            "charge": charge["id"],
            "payment_intent": charge["payment_intent"],
            "amount": charge["amount"],
            "currency": charge["currency"],
            "status": status,
        }
        self.disputes[made["id"]] = made
        self.charges[charge["id"]]["disputed"] = True
        return made


def _listed(found: dict[str, Object], fields: Object, name: str) -> list[Object]:
    return [
        one for one in reversed(found.values()) if fields.get(name) in (None, one[name])
    ]
