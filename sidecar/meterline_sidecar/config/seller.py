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
    """Who sends invoices. Issued documents keep what was set here on that day."""

    name: Annotated[
        Line, Meta(description="The seller's name as it appears on documents.")
    ] = ""
    address: Annotated[
        tuple[Line, ...], Meta(description="The seller's address, line by line.")
    ] = ()
    tax_id: Annotated[
        Line | None,
        Meta(
            description="The seller's tax id as it appears on documents,"
            ' such as `"VAT DE123456789"`.'
        ),
    ] = None
    email: Annotated[
        str | None,
        Meta(
            description="Where customers can write about invoices.",
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
            description="How many days after its issue an invoice is due.",
        ),
    ] = 14
    paper: Annotated[
        Literal["A4", "Letter"], Meta(description="The paper size of PDFs.")
    ] = "A4"
    locale: Annotated[
        str | None,
        Meta(
            description="How amounts, quantities and dates are written on documents"
            " and in the customer portal, such as `de-DE`; needs the extra `locale`."
            " The words stay English.",
            extra={"kind": LOCALE},
        ),
    ] = None
    invoice_prefix: Annotated[
        Series,
        Meta(
            description="The prefix of invoice numbers: `INV-0001`. Each prefix has"
            " its own series from 1, without gaps. It must not end with a digit."
        ),
    ] = INVOICES
    credit_note_prefix: Annotated[
        Series,
        Meta(
            description="The prefix of credit note numbers; if both prefixes are the"
            " same, they share one series."
        ),
    ] = "CN-"
