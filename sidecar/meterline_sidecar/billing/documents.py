"""Documents: the numbers of invoices and credit notes, and who sent them to whom.

What stands on a document was so on the day on which it was issued, and never changes:
neither another address nor another seller reaches it.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from meterline_pricing import Period
from meterline_sidecar.billing.breakdown import (
    Breakdown,
    less,
    negative,
    part_of,
    together,
)
from meterline_sidecar.billing.statement import (
    Journal,
    Owed,
    Statement,
    breakdowns_of,
    breakdowns_of_finals,
    final_of,
)
from meterline_sidecar.config.names import Name
from meterline_sidecar.config.seller import SellerConfig
from meterline_sidecar.config.shape import Config, Customer
from meterline_sidecar.decimals import added
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import documents as store
from meterline_sidecar.store.documents import DocumentRow, NewDocument
from meterline_sidecar.store.port import Tx

DAYS_MAX: Final = 1_000
"""Days that are kept: a piece of a close asks for those of one moment."""
DIGITS: Final = 4
"""Of a number, at least: the files of a year stand in their order."""


class CreditRefused(MeterlineError, ValueError):
    """More would be credited than an invoice comes to."""


class Party(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A seller or a buyer, as they stand on a document."""

    name: str = ""
    address: tuple[str, ...] = ()
    tax_id: str = ""
    email: str = ""


class Details(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a document says besides its number and its invoice.

    All of it is empty where a ledger got its documents when it was older than them.
    """

    seller: Party = Party()
    payment: tuple[str, ...] = ()
    """How to pay, line by line."""
    buyer: Party = Party()
    time_zone: str = "UTC"
    """In which its days are."""
    due: date | None = None
    also_due: tuple[Owed, ...] = ()
    """Besides its amount, in other currencies."""
    meters: dict[str, Name] = {}
    """What people call the meters of its lines."""
    reason: str = ""
    """Why something was credited."""
    author: str = ""
    """By whom."""
    breakdown: tuple[Breakdown, ...] = ()
    """What a credit note takes back, by currency, its own first; an invoice says it by
    its lines. Empty in what is older than this field."""


class Document(msgspec.Struct, frozen=True):
    """An invoice or a credit note under its number."""

    row: DocumentRow
    details: Details

    @property
    def number(self) -> str:
        """Its number as people write it: ``INV-0001``."""
        return number_text(self.row.series, self.row.number)

    @property
    def amount(self) -> Decimal:
        """What is due by it, in its currency; of a credit note below zero."""
        return Decimal(self.row.amount)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that its days are in."""
        return ZoneInfo(self.details.time_zone)

    @property
    def issued(self) -> date:
        """The day on which it was issued."""
        return day_of(self.row.issued_ms, self.details.time_zone)


class Issuer:
    """Gives documents their numbers, and writes on them who sends them.

    Args:
        config: says who that is, and what people call the meters, now.
        journal: links what is issued.
    """

    def __init__(self, config: Callable[[], Config], journal: Journal) -> None:
        self._config = config
        self._journal = journal

    async def invoice(
        self,
        tx: Tx,
        final: Statement,
        period: Period,
        *,
        row_id: int,
        buyer: Customer,
        journal: Journal | None = None,
    ) -> DocumentRow:
        """Give a final invoice, which was written in this transaction, its number.

        Args:
            journal: links it, for who writes many in one transaction.
        """
        assert final.finalized_ms is not None
        config = self._config()
        seller, names = config.seller, config.names
        issued = day_of(final.finalized_ms, buyer.time_zone)
        details = Details(
            seller=_sender(seller),
            payment=seller.payment,
            buyer=_buyer(buyer),
            time_zone=buyer.time_zone,
            due=issued + timedelta(days=seller.due_days),
            also_due=final.also_due,
            meters={
                meter: names.name(meter)
                for line in final.invoice.lines
                if (meter := line.meter) is not None
            },
        )
        return await self._add(
            tx,
            NewDocument(
                series=seller.invoice_prefix,
                kind="invoice",
                invoice_id=row_id,
                customer=final.customer,
                period=period.name,
                currency=final.invoice.currency,
                amount=str(final.due),
                issued_ms=final.finalized_ms,
                details=msgspec.json.encode(details).decode(),
            ),
            journal=journal,
        )

    async def credit_note(
        self,
        tx: Tx,
        invoice: DocumentRow,
        amount: Decimal,
        *,
        buyer: Customer,
        reason: str,
        author: str = "",
        now_ms: int,
    ) -> DocumentRow:
        """Credit some of an invoice or all of it, under a number of its own.

        Args:
            invoice: the document of the invoice.
            amount: above zero.

        Raises:
            CreditRefused: it is none, or more than is left of the invoice.
        """
        known = await store.of_invoice(tx, invoice.invoice_id)
        left = left_of(known)[invoice.currency]
        if not 0 < amount <= left:
            number = number_text(invoice.series, invoice.number)
            raise CreditRefused(
                f"{amount} {invoice.currency} cannot be credited: of {number}, more than"
                f" 0 and at most {left} {invoice.currency} can be"
            )
        statement, _ = await final_of(tx, invoice.invoice_id)
        whole = breakdowns_of(statement)[invoice.currency]
        part = part_of(whole, _taken_of(whole, known), amount)
        return await self._credit(
            *(tx, invoice, [negative(part)]),
            buyer=buyer,
            reason=reason,
            author=author,
            now_ms=now_ms,
        )

    async def undo(
        self,
        tx: Tx,
        invoice: DocumentRow,
        *,
        buyer: Customer,
        reason: str,
        author: str,
        now_ms: int,
    ) -> DocumentRow | None:
        """Credit all that is left of an invoice, in each of its currencies.

        Also where it is below zero, and where only what its credits paid is left.
        ``None``: nothing is left of it.
        """
        known = await store.of_invoice(tx, invoice.invoice_id)
        statement, _ = await final_of(tx, invoice.invoice_id)
        left = [
            less(whole, _taken_of(whole, known))
            for whole in breakdowns_of(statement).values()
        ]
        if all(one.is_nothing for one in left):
            return None
        return await self._credit(
            *(tx, invoice, [negative(one) for one in left]),
            buyer=buyer,
            reason=reason,
            author=author,
            now_ms=now_ms,
        )

    async def _credit(
        self,
        tx: Tx,
        invoice: DocumentRow,
        parts: Sequence[Breakdown],
        *,
        buyer: Customer,
        reason: str,
        author: str,
        now_ms: int,
    ) -> DocumentRow:
        own, *others = parts
        seller = self._config().seller
        details = Details(
            seller=_sender(seller),
            buyer=_buyer(buyer),
            time_zone=buyer.time_zone,
            also_due=tuple(Owed(o.amount, o.currency) for o in others if o.amount),
            reason=reason,
            author=author,
            breakdown=(own, *(one for one in others if not one.is_nothing)),
        )
        return await self._add(
            tx,
            NewDocument(
                series=seller.credit_note_prefix,
                kind="credit_note",
                invoice_id=invoice.invoice_id,
                customer=invoice.customer,
                period=invoice.period,
                currency=invoice.currency,
                amount=str(own.amount),
                issued_ms=now_ms,
                details=msgspec.json.encode(details).decode(),
            ),
        )

    async def _add(
        self, tx: Tx, row: NewDocument, *, journal: Journal | None = None
    ) -> DocumentRow:
        added = await store.add(tx, row)
        await (journal or self._journal).link(tx, "documents", added.id)
        return added


async def breakdowns_by_id(
    tx: Tx, rows: Sequence[DocumentRow]
) -> dict[int, tuple[Breakdown, ...]]:
    """Return what documents are made of, by currency, their own first, by their ids.

    As their pages and a month's tables say it: what a credit note does not say, as it is
    older than that, is net and adjustments.
    """
    ids = [row.invoice_id for row in rows if row.kind == "invoice"]
    finals = await breakdowns_of_finals(tx, ids)
    found: dict[int, tuple[Breakdown, ...]] = {}
    for row in rows:
        if row.kind == "invoice":
            found[row.id] = finals[row.invoice_id]
            continue
        said = document_of(row).details
        found[row.id] = said.breakdown or (
            Breakdown(currency=row.currency, net=Decimal(row.amount)),
            *(
                Breakdown(currency=o.currency, adjustments=o.amount)
                for o in said.also_due
            ),
        )
    return found


def left_of(rows: Iterable[DocumentRow]) -> dict[str, Decimal]:
    """Return what an invoice comes to with its credit notes, by currency."""
    found: dict[str, Decimal] = {}
    for row in rows:
        owed = Owed(Decimal(row.amount), row.currency)
        for one in (owed, *document_of(row).details.also_due):
            before = found.get(one.currency, Decimal(0))
            found[one.currency] = added(before, one.amount)
    return found


def _taken_of(whole: Breakdown, rows: Iterable[DocumentRow]) -> Breakdown:
    """Return what credit notes took of an invoice, in one currency.

    One that is older than what it says of that took as if it said it.
    """
    taken = Breakdown(currency=whole.currency)
    for row in rows:
        if row.kind != "credit_note":
            continue
        said = {one.currency: one for one in document_of(row).details.breakdown}
        if whole.currency in said:
            part = negative(said[whole.currency])
        elif said or row.currency != whole.currency:
            continue
        else:
            part = part_of(whole, taken, -Decimal(row.amount))
        taken = together(whole.currency, [taken, part])
    return taken


def _sender(seller: SellerConfig) -> Party:
    return Party(
        name=seller.name,
        address=seller.address,
        tax_id=seller.tax_id or "",
        email=seller.email or "",
    )


def _buyer(customer: Customer) -> Party:
    return Party(
        name=customer.name,
        address=customer.address,
        tax_id=customer.tax_id or "",
        email=customer.email or "",
    )


def number_text(series: str, number: int) -> str:
    """Return a document's number as people write it."""
    return f"{series}{number:0{DIGITS}d}"


def number_of(text: str) -> tuple[str, int] | None:
    """Return the series and the number in a text; ``None``: it is no such number.

    No series ends with a digit, so there is one way to read it.
    """
    series = text.rstrip("0123456789")
    digits = text[len(series) :]
    if not series or not digits or len(digits) > 18:
        return None
    return series, int(digits)


def document_of(row: DocumentRow) -> Document:
    """Return a stored document with what it says."""
    return Document(row, _decode(row.details))


@lru_cache(maxsize=DAYS_MAX)
def day_of(at_ms: int, time_zone: str) -> date:
    """Return the day of a moment in a time zone."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return at.astimezone(ZoneInfo(time_zone)).date()


_decode: Final = msgspec.json.Decoder(Details).decode
