"""A customer's account: what was invoiced, credited and paid, and what is owed."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from operator import itemgetter
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from meterline_sidecar.billing.ages import ages_of
from meterline_sidecar.billing.documents import (
    Document,
    breakdowns_by_id,
    document_of,
)
from meterline_sidecar.billing.statement import Owed
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.decimals import added, subtracted
from meterline_sidecar.store import documents as store
from meterline_sidecar.store import payments
from meterline_sidecar.store.payments import PaymentRow
from meterline_sidecar.store.port import Tx
from meterline_sidecar.web.answers.documents import AccountEntry, AccountStatement
from meterline_sidecar.web.answers.money import ShownOwed
from meterline_sidecar.web.money import shown_ages, shown_breakdown, shown_owed
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import PAGE, PAGE_MAX, CustomerId, find_customer


class AccountQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Whose account, and how much of it."""

    customer: CustomerId
    limit: Annotated[
        int,
        Meta(
            ge=1,
            le=PAGE_MAX,
            description="How many entries; of more, the newest. What was owed before"
            " them is `brought_forward`.",
        ),
    ] = PAGE


async def get_statement(parts: Parts, query: AccountQuery) -> AccountStatement:
    """Return the statement of a customer: invoices, credit notes, payments, balances."""
    customer = find_customer(parts, query.customer)
    locale, now_ms = parts.locale_of(customer.id), parts.clock.now_ms()
    async with parts.database.reading() as tx:
        return await read_account(
            tx, customer, limit=query.limit, locale=locale, now_ms=now_ms
        )


async def read_account(
    tx: Tx, customer: Customer, *, limit: int, now_ms: int, locale: str | None = None
) -> AccountStatement:
    """Return the newest entries of a customer's account, the oldest of them first.

    Args:
        now_ms: for which time ages are told.
        locale: how it is written for the customer.
    """
    balances: dict[str, Decimal] = defaultdict(Decimal)
    entries: list[AccountEntry] = []
    found = [document_of(row) for row in await store.all_of(tx, customer.id)]
    numbers = {one.row.invoice_id: one for one in found if one.row.kind == "invoice"}
    changes: list[tuple[int, Document | PaymentRow]] = [
        *((one.row.issued_ms, one) for one in found),
        *(
            (one.recorded_ms, one)
            for one in await payments.of_customer(tx, customer.id)
        ),
    ]
    for _, one in sorted(changes, key=itemgetter(0)):
        if isinstance(one, Document):
            entries += _entries(one, balances)
        else:
            entries.append(_paid(one, numbers[one.invoice_id], balances))
    shown = await _broken_down(tx, entries[-limit:], found)
    before: dict[str, Decimal] = {}
    for entry in entries[: len(entries) - len(shown)]:
        before[entry.currency] = entry.balance
    return AccountStatement(
        customer=customer.id,
        customer_name=customer.name,
        locale=locale,
        brought_forward=_owed(before),
        entries=tuple(shown),
        balances=_owed(balances),
        ages=shown_ages(await ages_of(tx, found, now_ms=now_ms)),
    )


async def _broken_down(
    tx: Tx, entries: list[AccountEntry], known: list[Document]
) -> list[AccountEntry]:
    """Return entries, with what the amounts of documents among them are made of."""
    numbers = {one.number for one in entries}
    rows = {one.number: one.row for one in known if one.number in numbers}
    made_of = await breakdowns_by_id(tx, list(rows.values()))
    found: list[AccountEntry] = []
    for entry in entries:
        is_document = entry.kind in ("invoice", "credit_note")
        parts = made_of[rows[entry.number].id] if is_document else ()
        (shown,) = [
            shown_breakdown(one) for one in parts if one.currency == entry.currency
        ] or (None,)
        found.append(replace(entry, breakdown=shown))
    return found


def _entries(
    document: Document, balances: dict[str, Decimal]
) -> Iterator[AccountEntry]:
    """Yield what a document changes, and change the balances by it."""
    row, said = document.row, document.details
    for owed in (Owed(document.amount, row.currency), *said.also_due):
        balances[owed.currency] = added(balances[owed.currency], owed.amount)
        yield AccountEntry(
            day=document.issued,
            number=document.number,
            kind=row.kind,
            period=row.period,
            due=said.due,
            currency=owed.currency,
            amount=owed.amount,
            balance=balances[owed.currency],
            reference="",
            breakdown=None,
        )


def _paid(
    payment: PaymentRow, invoice: Document, balances: dict[str, Decimal]
) -> AccountEntry:
    """Return what a payment changes, and change the balances by it."""
    amount = Decimal(payment.amount)
    balances[payment.currency] = subtracted(balances[payment.currency], amount)
    return AccountEntry(
        day=date.fromisoformat(payment.paid_on),
        number=invoice.number,
        kind="payment" if amount > 0 else "refund",
        period=invoice.row.period,
        due=None,
        currency=payment.currency,
        amount=subtracted(Decimal(0), amount),
        balance=balances[payment.currency],
        reference=payment.reference,
        breakdown=None,
    )


def _owed(balances: Mapping[str, Decimal]) -> tuple[ShownOwed, ...]:
    return shown_owed(Owed(amount, currency) for currency, amount in balances.items())


OPERATIONS = (Operation("/v1/customers/{customer}/statement", get_statement),)
