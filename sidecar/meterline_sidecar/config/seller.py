"""``[seller]``: who sends invoices, as it stands on them, and how they are numbered."""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.config.kinds import EMAIL, LINE, LOCALE, SERIES

DUE_DAYS_MAX: Final = 365
INVOICES: Final = "INV-"
"""The series of invoices that nobody named another one for."""

Series = Annotated[str, Meta(extra={"kind": SERIES})]
Line = Annotated[str, Meta(extra={"kind": LINE})]


class SellerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends invoices. What was issued keeps what stood here on that day."""

    name: Annotated[
        Line, Meta(description="The seller's name, as it is to stand on documents.")
    ] = ""
    address: Annotated[
        tuple[Line, ...], Meta(description="The seller's address, line by line.")
    ] = ()
    tax_id: Annotated[
        Line | None, Meta(description='Such as `"VAT DE123456789"`, as it is written.')
    ] = None
    email: Annotated[
        str | None,
        Meta(
            description="Where customers write to about invoices.",
            extra={"kind": EMAIL},
        ),
    ] = None
    payment: Annotated[
        tuple[Line, ...],
        Meta(description="How to pay, line by line: a bank, an IBAN, a link."),
    ] = ()
    due_days: Annotated[
        int,
        Meta(
            ge=0,
            le=DUE_DAYS_MAX,
            description="How many days after it was issued an invoice is due.",
        ),
    ] = 14
    paper: Annotated[
        Literal["A4", "Letter"], Meta(description="The sheets of a PDF.")
    ] = "A4"
    locale: Annotated[
        str | None,
        Meta(
            description="How amounts, quantities and days are written on documents and"
            " on the customer's page, such as `de-DE`; needs the extra `locale`. The"
            " words stay English.",
            extra={"kind": LOCALE},
        ),
    ] = None
    invoice_prefix: Annotated[
        Series,
        Meta(
            description="What numbers of invoices begin with: `INV-0001`. Each prefix is"
            " a series of its own, from 1 on and without holes. It does not end with a"
            " digit."
        ),
    ] = INVOICES
    credit_note_prefix: Annotated[
        Series,
        Meta(
            description="What numbers of credit notes begin with; the same prefix makes"
            " one series of both."
        ),
    ] = "CN-"
