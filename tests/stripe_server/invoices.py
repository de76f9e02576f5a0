"""Invoices, their items and credit notes, as strict as Stripe about states and fields."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from tests.stripe_server import errors
from tests.stripe_server.account import Account
from tests.stripe_server.errors import StripeRefusal, answer
from tests.stripe_server.forms import check, is_true
from tests.stripe_server.http import Response
from tests.stripe_server.payments import Payments

Object = dict[str, Any]

INVOICE_FIELDS: Final = (
    *("customer", "currency", "auto_advance", "collection_method", "days_until_due"),
    *("description", "metadata", "pending_invoice_items_behavior", "automatic_tax"),
    *("due_date", "footer", "custom_fields", "number", "expand"),
)
ITEM_FIELDS: Final = (
    *("customer", "amount", "currency", "description", "discountable", "invoice"),
    *("metadata", "period", "tax_behavior", "tax_code", "expand"),
)
NOTE_FIELDS: Final = (
    *("invoice", "amount", "memo", "metadata", "reason", "credit_amount"),
    *("refund_amount", "out_of_band_amount", "expand"),
)
THOUSANDTHS: Final = ("bhd", "jod", "kwd", "omr", "tnd")
ITEMS_MAX: Final = 250


def _integer(fields: Object, name: str) -> int:
    text = str(fields[name])
    if not text.removeprefix("-").isdecimal():
        raise StripeRefusal(400, f"Invalid integer: {text}", param=name)
    return int(text)


@dataclass(slots=True)
class Invoices:
    """The invoices of an account."""

    account: Account
    invoices: dict[str, Object] = field(default_factory=dict[str, Object])
    items: dict[str, Object] = field(default_factory=dict[str, Object])
    notes: dict[str, Object] = field(default_factory=dict[str, Object])
    paid: Payments = field(init=False)
    balances: dict[str, int] = field(default_factory=dict[str, int])
    """What customers have in their favour: below zero, as Stripe says it."""
    sent: list[str] = field(default_factory=list[str])
    """The invoices that customers were sent."""

    def handle(
        self, method: str, path: list[str], fields: Object
    ) -> Response | list[Object] | None:
        """Answer a request, or return what a list is of; ``None``: none of these."""
        match method, path:
            case "POST", ["invoices"]:
                return answer(200, self._create(fields))
            case "GET", ["invoices"]:
                return self._listed(
                    self.invoices.values(), fields, "customer", "status"
                )
            case "GET", ["invoices", name]:
                return answer(200, self._invoice(name))
            case "DELETE", ["invoices", name]:
                return answer(200, self.delete(name))
            case "GET", ["invoices", name, "lines"]:
                self._invoice(name)
                return self.lines(name)
            case "POST", ["invoices", name, verb]:
                return self._do(name, verb, fields)
            case "POST", ["invoiceitems"]:
                return answer(200, self._create_item(fields))
            case "GET", ["invoiceitems"]:
                return self._listed(self.items.values(), fields, "invoice")
            case "POST", ["credit_notes"]:
                return answer(200, self._create_note(fields))
            case "GET", ["credit_notes"]:
                return self._listed(self.notes.values(), fields, "invoice")
            case _:
                return self.paid.handle(method, path, fields)

    def __post_init__(self) -> None:
        """Put what was paid on the same account."""
        self.paid = Payments(self.account)

    def _listed(self, found: Any, fields: Object, *names: str) -> list[Object]:
        return [
            one
            for one in reversed(list(found))
            if all(one.get(name) == fields[name] for name in names if name in fields)
        ]

    def _invoice(self, name: str) -> Object:
        if name not in self.invoices:
            raise errors.missing_resource("invoice", name)
        return self.invoices[name]

    def _create(self, fields: Object) -> Object:
        check(fields, known=INVOICE_FIELDS, required=("customer",))
        known = self.account.customers
        if known is not None and fields["customer"] not in known:
            raise errors.missing_resource(
                "customer", fields["customer"], param="customer"
            )
        sends = fields.get("collection_method") == "send_invoice"
        if sends != ("days_until_due" in fields or "due_date" in fields):
            raise StripeRefusal(
                400, "You must pass days_until_due with collection_method=send_invoice"
            )
        made: Object = {
            "object": "invoice",
            "collection_method": "charge_automatically",
            "metadata": {},
            **fields,
            "id": self.account.new_id("in"),
            "auto_advance": is_true(fields.get("auto_advance")),
            "status": "draft",
            "attempt_count": 0,
        }
        self.invoices[made["id"]] = made
        self._sum(made)
        return made

    def _create_item(self, fields: Object) -> Object:
        check(fields, known=ITEM_FIELDS, required=("customer", "amount", "currency"))
        if fields.get("invoice") not in self.invoices:
            raise errors.missing_resource(
                "invoice", fields.get("invoice", ""), param="invoice"
            )
        invoice = self._invoice(fields["invoice"])
        self._must_be(invoice, "draft")
        if invoice["currency"] != fields["currency"]:
            raise StripeRefusal(
                400, "The currency of the item differs", param="currency"
            )
        amount = _integer(fields, "amount")
        if fields["currency"] in THOUSANDTHS and amount % 10:
            raise StripeRefusal(400, "The last digit must be 0", param="amount")
        if len(self.lines(invoice["id"])) >= ITEMS_MAX:
            raise StripeRefusal(400, f"An invoice has at most {ITEMS_MAX} items")
        made: Object = {
            "object": "invoiceitem",
            "metadata": {},
            **fields,
            "id": self.account.new_id("ii"),
            "amount": amount,
        }
        self.items[made["id"]] = made
        self._sum(invoice)
        return made

    def lines(self, name: str) -> list[Object]:
        """Return the lines of an invoice, as Stripe shows them."""
        return [
            {
                "id": item["id"].replace("ii_", "il_"),
                "object": "line_item",
                "amount": item["amount"],
                "currency": item["currency"],
                "description": item.get("description"),
                "metadata": item["metadata"],
                "parent": {
                    "type": "invoice_item_details",
                    "invoice_item_details": {"invoice_item": item["id"]},
                },
            }
            for item in self.items.values()
            if item["invoice"] == name
        ]

    def _sum(self, invoice: Object) -> None:
        total = sum(line["amount"] for line in self.lines(invoice["id"]))
        notes = [n for n in self.notes.values() if n["invoice"] == invoice["id"]]
        credited = sum(note["amount"] - note["credit_amount"] for note in notes)
        invoice["pre_payment_credit_notes_amount"] = credited
        invoice["post_payment_credit_notes_amount"] = sum(
            note["credit_amount"] for note in notes
        )
        due = max(0, total) - credited
        paid = due if invoice["status"] == "paid" else 0
        invoice.update(total=total, amount_due=due, amount_paid=paid)
        invoice["amount_remaining"] = due - paid

    def _must_be(self, invoice: Object, *statuses: str) -> None:
        if invoice["status"] not in statuses:
            raise StripeRefusal(
                400,
                f"This invoice is {invoice['status']}, not {' or '.join(statuses)}.",
                code="invoice_not_editable",
            )

    def _do(self, name: str, verb: str, fields: Object) -> Response | None:
        invoice = self._invoice(name)
        known = {"pay": ("paid_out_of_band",), "finalize": ("auto_advance",)}
        check(fields, known=(*known.get(verb, ()), "expand"))
        match verb:
            case "finalize":
                self._must_be(invoice, "draft")
                self._finalize(invoice)
                invoice["auto_advance"] = is_true(fields.get("auto_advance"))
            case "send":
                self._must_be(invoice, "open")
                if invoice["collection_method"] != "send_invoice":
                    raise StripeRefusal(400, "You can only send invoices to pay.")
                self.sent.append(name)
            case "void":
                self._must_be(invoice, "open", "uncollectible")
                invoice["status"] = "void"
            case "mark_uncollectible":
                self._must_be(invoice, "open")
                invoice["status"] = "uncollectible"
            case "pay":
                self._must_be(invoice, "open", "uncollectible")
                invoice["status"] = "paid"
            case _:
                return None
        self._sum(invoice)
        return answer(200, invoice)

    def _finalize(self, invoice: Object) -> None:
        self._sum(invoice)
        invoice["status"] = "open" if invoice["total"] > 0 else "paid"
        if invoice["total"] < 0:  # goes to the customer's balance
            before = self.balances.get(invoice["customer"], 0)
            self.balances[invoice["customer"]] = before + invoice["total"]

    def _create_note(self, fields: Object) -> Object:
        check(fields, known=NOTE_FIELDS, required=("invoice",))
        invoice = self._invoice(fields["invoice"])
        self._must_be(invoice, "open", "paid")
        amount = _integer(fields, "amount")
        beyond = max(0, amount - invoice["amount_remaining"])
        given = sum(
            _integer(fields, name)
            for name in ("credit_amount", "refund_amount", "out_of_band_amount")
            if name in fields
        )
        if amount <= 0 or given != beyond:
            raise StripeRefusal(
                400, f"The sum of credits must be the post payment amount, {beyond}."
            )
        made: Object = {
            "object": "credit_note",
            "metadata": {},
            **fields,
            "id": self.account.new_id("cn"),
            "amount": amount,
            "credit_amount": beyond,
        }
        self.notes[made["id"]] = made
        self._sum(invoice)
        if invoice["status"] == "open" and invoice["amount_remaining"] == 0:
            invoice["status"] = "paid"
        return made

    # --- what somebody does at Stripe, and what it tells of that

    def delete(self, name: str) -> Object:
        """Take a draft away, with its items."""
        self._must_be(self._invoice(name), "draft")
        del self.invoices[name]
        for item in [i for i in self.items.values() if i["invoice"] == name]:
            del self.items[item["id"]]
        return {"id": name, "object": "invoice", "deleted": True}

    def pay(self, name: str) -> Object:
        """Let a customer pay an invoice; return the charge."""
        invoice = self._invoice(name)
        self._do(name, "pay", {})
        return self.paid.charge(invoice, invoice["amount_paid"])

    def event(self, kind: str, about: Object, **more: Any) -> bytes:
        """Return the body of a webhook."""
        content = {
            "id": self.account.new_id("evt"),
            "object": "event",
            "type": kind,
            "data": {"object": about},
            **more,
        }
        return json.dumps(content).encode()

    def credit(self, name: str, amount: int) -> str:
        """Let somebody credit a part of an open invoice; return the credit note's id."""
        note = self._create_note({"invoice": name, "amount": str(amount)})
        return str(note["id"])

    def take_back(self, note: str) -> None:
        """Let somebody void a credit note."""
        self._sum(self.invoices[self.notes.pop(note)["invoice"]])
