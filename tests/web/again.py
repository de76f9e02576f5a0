"""Computes the final invoices of a sidecar in this process again."""

import tempfile
from pathlib import Path
from typing import Protocol

from meterline_sidecar.billing.again import InvoicesAgain, verify_invoices
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.store.edge.usage import ReadEvents, events_after
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.web.parts import Parts


class HasParts(Protocol):
    """A sidecar in this process."""

    @property
    def parts(self) -> Parts:
        """What it consists of."""
        ...


async def computed_again(
    web: HasParts, *, read_events: ReadEvents = events_after
) -> Report:
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
