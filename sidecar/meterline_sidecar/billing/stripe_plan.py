"""The calls by which Stripe is told of one final invoice, exactly as it is here."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from meterline_pricing import Period, PricingError
from meterline_pricing.tools import stripe_amount
from meterline_sidecar.billing.documents import document_of, number_text
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.config.collect import CollectRule
from meterline_sidecar.config.names import Names
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.stripe_calls import CallRow, NewCall
from meterline_sidecar.store.stripe_calls import Step as CallStep
from meterline_sidecar.stripe.invoice_lines import INVOICE, LINE

ITEMS_MAX: Final = 250
"""Of one invoice at Stripe. Source: stripe-python 16.1.0, Invoice, read 2026-11-26."""
WORDS_MAX: Final = 500

_encode = msgspec.json.Encoder().encode


class NotTold(MeterlineError):
    """Stripe cannot be told of an invoice so; the text says why, and what to do."""


class PlannedCalls:
    """The calls of one invoice."""

    def __init__(
        self, row: DocumentRow, stripe_customer: str, mark: str, now_ms: int
    ) -> None:
        self._row = row
        self._stripe_customer = stripe_customer
        self._mark = mark
        self._now_ms = now_ms
        self.number = number_text(row.series, row.number)

    def calls(
        self, statement: Statement, period: Period, rule: CollectRule
    ) -> list[NewCall]:
        """Return them in order.

        Raises:
            NotTold, PricingError: Stripe would not say the same as our invoice.
        """
        if not self._stripe_customer:
            raise NotTold(
                f"customer {statement.customer} has no stripe_customer: set it, then"
                " let the invoice go again"
            )
        if statement.also_due:
            raise NotTold(
                "it has adjustments in other currencies, and an invoice at Stripe has"
                " one: collect it by hand"
            )
        items = list(self._items(statement, period, rule))
        if len(items) > ITEMS_MAX:
            raise NotTold(f"it has {len(items)} lines, and Stripe takes {ITEMS_MAX}")
        total = sum(int(msgspec.json.decode(item.params)["amount"]) for item in items)
        if total != minor(statement.due, statement.invoice.currency):
            raise NotTold(
                f"its lines come to {total} at Stripe, and not to what is due"
            )
        ends = [self._call("finalize", "", {"auto_advance": True})]
        if rule.collection_method == "send_invoice" and statement.due > 0:
            ends.append(self._call("send", "", {}))
        return [self.draft(statement, period, rule), *items, *ends]

    def draft(self, statement: Statement, period: Period, rule: CollectRule) -> NewCall:
        """Return the call that makes a draft without items."""
        params: dict[str, Any] = {
            "customer": self._stripe_customer,
            "currency": statement.invoice.currency,
            "auto_advance": False,
            "pending_invoice_items_behavior": "exclude",
            "collection_method": rule.collection_method,
            "description": f"Invoice {self.number}, {period.name}",
            "metadata": {INVOICE: self._mark, "meterline_number": self.number},
        }
        if rule.collection_method == "send_invoice":
            params["days_until_due"] = rule.days_until_due
        if rule.tax == "stripe":
            params["automatic_tax"] = {"enabled": True}
        return self._call("invoice", "", params)

    def _items(
        self, statement: Statement, period: Period, rule: CollectRule
    ) -> Iterator[NewCall]:
        drawn = statement.invoice
        names = Names(document_of(self._row).details.meters)
        for i, line in enumerate(drawn.lines, 1):
            if line.kind == "tax" and rule.tax == "stripe":
                raise NotTold(
                    "its plan has taxes, and Stripe Tax would add others: take them out"
                    ' of the plan, or set tax = "ours" in [[collect]]'
                )
            words = names.line(line.description, line.meter)
            yield self._item(f"line-{i}", words, line.amount, drawn.currency, period)
        for i, found in enumerate(statement.adjustments, 1):
            words = f"Adjustment of {found.period}"
            currency = found.currency or drawn.currency
            yield self._item(f"adjustment-{i}", words, found.amount, currency, period)

    def _item(
        self, ref: str, words: str, amount: Decimal, currency: str, period: Period
    ) -> NewCall:
        params = {
            "customer": self._stripe_customer,
            "amount": minor(amount, currency),
            "currency": currency,
            "description": words[:WORDS_MAX],
            "discountable": False,
            "period": {"start": period.start // 1000, "end": period.end // 1000},
            "metadata": {LINE: ref},
        }
        return self._call("item", ref, params)

    def _call(self, step: CallStep, ref: str, params: Mapping[str, Any]) -> NewCall:
        return NewCall(
            invoice_id=self._row.invoice_id,
            step=step,
            ref=ref,
            stripe_customer=self._stripe_customer,
            params=_encode(params).decode(),
            created_ms=self._now_ms,
        )


def follow(
    first: CallRow,
    step: CallStep,
    params: Mapping[str, Any],
    now_ms: int,
    *,
    ref: str = "",
) -> NewCall:
    """Return a call behind those of an invoice."""
    return NewCall(
        invoice_id=first.invoice_id,
        step=step,
        ref=ref,
        stripe_customer=first.stripe_customer,
        params=_encode(params).decode(),
        created_ms=now_ms,
    )


def in_major(units: int, currency: str) -> Decimal:
    """Return what Stripe says in its smallest units as an amount of ours."""
    return Decimal(units) / stripe_amount(Decimal(1), currency)


def minor(amount: Decimal, currency: str) -> int:
    """Return an amount as Stripe takes it, exactly.

    Raises:
        PricingError: it has digits that Stripe does not take.
    """
    whole = stripe_amount(amount, currency)
    one = stripe_amount(Decimal(1), currency)
    if whole != amount * one:
        raise PricingError(
            f"Stripe does not take {amount:f} {currency}, only whole tens of its"
            " thousandths: collect it by hand, or let the plan round so"
        )
    return whole
