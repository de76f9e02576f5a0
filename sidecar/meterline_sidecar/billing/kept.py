"""Compares what is kept of a final invoice, in all of its rows, with what was computed."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple, TypeVar, Union

import msgspec

from meterline_pricing import Invoice
from meterline_sidecar.billing.documents import number_text
from meterline_sidecar.billing.drawing import ToKeep
from meterline_sidecar.billing.statement import Adjustment, Agreement, Statement
from meterline_sidecar.store.invoices import FinalRow
from meterline_sidecar.store.port import Row

SHOWN_CHARS: Final = 60

S = TypeVar("S", bound=msgspec.Struct)
Plain = Union[dict[str, "Plain"], list["Plain"], str, int, bool, None]  # noqa: UP007 - it names itself
"""What JSON can say; amounts are texts in it."""


class Around(NamedTuple):
    """A final invoice with the rows that were written with it, as they are kept."""

    row: FinalRow
    link_id: int | None
    adjustments: list[Row]
    uses: list[Row]
    documents: list[Row]


def differences(around: Around, kept: Statement, computed: ToKeep) -> Iterator[str]:
    """Yield what is kept of an invoice and is not what was computed, in words."""
    again = _as_kept(around.row, kept, computed.statement)
    found = _first(_plain(kept), _plain(again), "the invoice")
    if found is not None:
        yield found
    elif _is_whole(around.row) and around.row.document != _encoded(again):
        yield "it is written otherwise than Meterline writes it"
    uses = [tuple(use._replace(invoice_id=around.row.id)) for use in computed.uses]
    if [row[1:] for row in around.uses] != uses:
        yield "what it used up of credits and coupons is not what it must have"
    adjusted = [
        (one.period, str(one.billed), str(one.now), str(one.amount))
        for one in again.adjustments
    ]
    if [(row[2], *row[5:8]) for row in around.adjustments] != adjusted:
        yield "its rows of adjustments are not those that it bills"
    yield from _wrong_documents(around, again)


def _encoded(statement: Statement) -> str:
    return msgspec.json.encode(statement).decode()


def _is_whole(row: FinalRow) -> bool:
    """Say whether every field is there that this version of Meterline writes."""
    written: dict[str, Any] = msgspec.json.decode(row.document)
    return written.keys() >= set(Statement.__struct_fields__) and written[
        "agreement"
    ].keys() >= set(Agreement.__struct_fields__)


def _as_kept(row: FinalRow, kept: Statement, computed: Statement) -> Statement:
    """Return what was computed in the form of what is kept.

    A version of Meterline before a field was there did not write it.
    """
    written: dict[str, Any] = msgspec.json.decode(row.document)
    if computed.agreement is not None and kept.agreement is not None:
        computed = _without(computed, kept, written)
        of_agreement = _without(
            computed.agreement or kept.agreement, kept.agreement, written["agreement"]
        )
        computed = msgspec.structs.replace(computed, agreement=of_agreement)
    return msgspec.structs.replace(
        computed,
        invoice=_invoice_as_kept(kept.invoice, computed.invoice),
        adjustments=tuple(_adjustments_as_kept(kept, computed)),
    )


def _invoice_as_kept(kept: Invoice, computed: Invoice) -> Invoice:
    """Return an invoice whose lines say no more of themselves than the kept ones do."""
    unsaid: dict[str, Any] = {
        name: nothing
        for name, nothing in (("span", None), ("every", "once"))
        if all(getattr(line, name) == nothing for line in kept.lines)
    }
    lines = tuple(msgspec.structs.replace(line, **unsaid) for line in computed.lines)
    return msgspec.structs.replace(computed, lines=lines)


def _adjustments_as_kept(kept: Statement, computed: Statement) -> Iterator[Adjustment]:
    """Yield what was computed; what is older does not say what it is made of."""
    by_place = {(one.period, one.currency): one for one in kept.adjustments}
    for one in computed.adjustments:
        before = by_place.get((one.period, one.currency))
        if before is None and not one.amount:
            continue  # of what credits paid whole nothing was said
        if before is not None and before.breakdown is None:
            yield msgspec.structs.replace(one, breakdown=None)
        else:
            yield one


def _without(computed: S, kept: S, written: Mapping[str, object]) -> S:
    missing = {
        name: getattr(kept, name)
        for name in kept.__struct_fields__
        if name not in written
    }
    return msgspec.structs.replace(computed, **missing)


def _plain(statement: Statement) -> Plain:
    plain: Plain = msgspec.json.decode(msgspec.json.encode(statement))
    return plain


def _first(kept: Plain, computed: Plain, where: str) -> str | None:
    """Return the first place in which two values differ, in words."""
    if kept == computed:
        return None
    if isinstance(kept, dict) and isinstance(computed, dict):
        pairs = [
            (f".{key}", kept.get(key), computed.get(key)) for key in kept | computed
        ]
    elif isinstance(kept, list) and isinstance(computed, list):
        if len(kept) != len(computed):
            return f"{where} has {len(kept)} entries, computed are {len(computed)}"
        both = enumerate(zip(kept, computed, strict=True))
        pairs = [(f"[{i}]", one, other) for i, (one, other) in both]
    else:
        return f"{where} is {_short(kept)}, computed is {_short(computed)}"
    return next(
        found
        for place, one, other in pairs
        if (found := _first(one, other, f"{where}{place}")) is not None
    )


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}..."


def _wrong_documents(around: Around, computed: Statement) -> Iterator[str]:
    """Yield what the document of an invoice says otherwise than the invoice."""
    row = around.row
    invoices = [document for document in around.documents if document[3] == "invoice"]
    if len(invoices) != 1:
        yield f"it has {len(invoices)} documents and must have one"
    meant = (
        row.customer,
        row.period,
        computed.invoice.currency,
        str(computed.due),
        row.finalized_ms,
    )
    for document in invoices:
        if document[5:10] != meant:
            yield (
                f"its document says {_short(document[5:10])}, the invoice is"
                f" {_short(meant)}"
            )
    left = {computed.invoice.currency: computed.due}
    left |= {owed.currency: owed.amount for owed in computed.also_due}
    for document in around.documents:
        if document[3] == "credit_note":
            currency = document[7]
            left[currency] = left.get(currency, Decimal(0)) + Decimal(document[8])
            if document[5:7] != meant[:2] or left[currency] < 0:
                number = number_text(document[1], document[2])
                yield f"the credit note {number} is of another, or of more than it"
