"""Others read these tables by the place of a column as well as by its name."""

from typing import Final

import pytest

from meterline_sidecar.cli.commands import invoices
from meterline_sidecar.cli.month import TAX_COLUMNS, TOTAL_COLUMNS
from meterline_sidecar.web.documents import focus, sheet

DOCUMENT: Final = "document kind customer customer_name period issued due"
STANDING: Final = "invoice invoice_state credit_notes"
KNOWN: Final = {
    "a document": (
        sheet.COLUMNS,
        f"{DOCUMENT} row line adjusts meter unit tier quantity unit_amount amount"
        f" currency explanation {STANDING}",
    ),
    "totals.csv": (
        TOTAL_COLUMNS,
        f"{DOCUMENT} currency net tax total adjustments amount credits adjustments_tax"
        f" {STANDING}",
    ),
    "taxes.csv": (
        TAX_COLUMNS,
        f"{DOCUMENT} currency tax percent base amount {STANDING}",
    ),
    "focus.csv": (
        focus.COLUMNS,
        "BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd"
        " BillingPeriodStart ChargeCategory ChargeClass ChargeDescription"
        " ChargeFrequency ChargePeriodEnd ChargePeriodStart ConsumedQuantity"
        " ConsumedUnit ContractedCost EffectiveCost InvoiceId InvoiceIssuerName ListCost"
        " PricingQuantity PricingUnit ProviderName PublisherName ServiceCategory"
        " ServiceName x_OriginalInvoiceId x_InvoiceState x_CreditNoteIds",
    ),
    "a list of invoices": (
        invoices.COLUMNS,
        "number kind customer customer_name period issued due state overdue currency net"
        " tax credits adjustments amount left stripe_state stripe_id invoice"
        " invoice_state",
    ),
}


@pytest.mark.parametrize("table", KNOWN)
def test_a_table_only_ever_gets_more_columns_at_the_end(table: str) -> None:
    columns, known = KNOWN[table]
    before = tuple(known.split())

    assert columns[: len(before)] == before, "add new columns at the end"
    assert len(set(columns)) == len(columns)
