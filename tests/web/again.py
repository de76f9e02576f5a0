"""Computes the final invoices of a sidecar in this process again."""

import tempfile
from pathlib import Path

from meterline_sidecar.billing.again import InvoicesAgain, verify_invoices
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.store.edge.usage import ReadEvents, events_after
from meterline_sidecar.store.open import open_ledger
from tests.web.conftest import Web


async def computed_again(web: Web, *, read_events: ReadEvents = events_after) -> Report:
    """Return what `meterline verify --invoices` finds by the invoices alone."""
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        scratch = await open_ledger(Path(folder) / "scratch.db")
        try:
            again = InvoicesAgain(
                web.parts.database,
                scratch,
                read_events=read_events,
                report=report,
                progress=lambda what, done, total: None,
            )
            await verify_invoices(again, report)
        finally:
            await scratch.close()
    return report
