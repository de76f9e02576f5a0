"""Computes every final invoice again from raw events, and compares it with what is kept.

Events are counted once, in order, into a scratch ledger. Wherever an invoice was made,
it is drawn there by the code that drew it: from the usage up to the event that it
names, what was agreed up to its row of terms, and the credits and invoices before it.
So a wrong one is found whatever is wrong: an invoice that was changed, usage that was
changed before it was billed, or an event that was changed since.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from meterline_pricing import Period, PricingError
from meterline_sidecar.billing.documents import number_text
from meterline_sidecar.billing.drafts import Billing, NotBillable
from meterline_sidecar.billing.drawing import Drawing
from meterline_sidecar.billing.kept import Around, differences
from meterline_sidecar.billing.past import past_of
from meterline_sidecar.billing.statement import Agreement, Statement
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store import again as store
from meterline_sidecar.store import invoices as invoice_store
from meterline_sidecar.store import journal
from meterline_sidecar.store.edge.corrections import last_known
from meterline_sidecar.store.edge.usage import ReadEvents
from meterline_sidecar.store.invoices import FinalRow
from meterline_sidecar.store.port import Database, Readable, Row
from meterline_sidecar.store.terms import NEVER_MS, terms_after
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.customers import CustomerIndex
from meterline_sidecar.terms.settle import settle_owners
from meterline_sidecar.usage.again import CountedAgain
from meterline_sidecar.usage.counted import Counted

ROWS_PER_READ: Final = 500
ENTRIES: Final = ("credits", "credit_ends", "invoice_states")
"""What was granted, and what became void: known by the order of the journal."""

UNREADABLE: Final = (
    NotBillable,
    PricingError,
    msgspec.MsgspecError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
)
"""How drawing answers what nobody wrote."""

_decode = msgspec.json.Decoder(Statement).decode


class _AsOf:
    """The time at which an invoice became final."""

    rehearsal = None

    def __init__(self) -> None:
        self.at_ms = 0

    def now_ms(self) -> int:
        return self.at_ms


class InvoicesAgain:
    """Computes the final invoices of a ledger again.

    Args:
        ledger: is read, a piece at a time.
        scratch: an empty ledger to work in.
        read_events: of the ledger, also where they left it.
        report: gets what differs.
    """

    def __init__(
        self,
        ledger: Readable,
        scratch: Database,
        *,
        read_events: ReadEvents,
        report: Report,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._scratch = scratch
        self._report = report
        self._progress = progress
        self._usage = CountedAgain(ledger, scratch, read_events=read_events)
        self._terms = Terms()
        self._clock = _AsOf()
        self._customers = CustomerIndex(self._terms, clock=self._clock)
        self._drawing = Drawing(Billing(self._terms), self._terms)
        self._link_id = 0
        """Up to which link of the journal the rows of ``ENTRIES`` are known."""

    async def run(self) -> None:
        """Compute all of them, in the order in which they became final."""
        async with self._ledger.reading() as tx:
            made_from = await store.made_from(tx)
            await self._usage.begin(
                tx, [of for _, _, of in made_from if of is not None]
            )
            for series, n_documents, last in await store.series_with_holes(tx):
                self._report.add(
                    f"documents: the series {series} has {n_documents} and ends with"
                    f" {number_text(series, last)}"
                )
        n_invoices = len(made_from)
        last_event = max((event or 0 for _, event, _ in made_from), default=0)
        done, last_id = 0, 0
        while rows := await self._rows_after(last_id):
            for row in rows:
                around = await self._around(row)
                await self._count_to(around, last_event)
                await self._compare(around)
                done += 1
                self._progress("invoices", done, n_invoices)
            last_id = rows[-1].id

    async def _rows_after(self, last_id: int) -> list[FinalRow]:
        async with self._ledger.reading() as tx:
            return await invoice_store.finals_after(tx, last_id, limit=ROWS_PER_READ)

    async def _around(self, row: FinalRow) -> Around:
        async with self._ledger.reading() as tx:
            link = await journal.link_of(tx, "invoices", row.id)
            return Around(
                row,
                None if link is None else link.id,
                await store.rows_of_invoice(tx, "adjustments", row.id),
                await store.rows_of_invoice(tx, "term_uses", row.id),
                await store.rows_of_invoice(tx, "documents", row.id),
            )

    async def _count_to(self, around: Around, last_event: int) -> None:
        """Count the events that an invoice counts."""
        kept = _read(around.row)
        if kept is None or kept.counted_up_to_event <= self._usage.reached:
            return
        while await self._usage.count_to(kept.counted_up_to_event):
            self._progress("events", self._usage.reached, last_event)

    async def _compare(self, around: Around) -> None:
        """Draw an invoice again, compare it, and take over what is kept for the next."""
        row, kept = around.row, _read(around.row)
        name = _named(around)
        if kept is None:
            self._report.add(f"{name} cannot be read")
            return  # Those behind it are computed as if it were not there.
        if kept.agreement is None:
            self._report.invoices_not_computed += 1
        else:
            self._report.invoices += 1
            for wrong in await self._wrong(around, kept, kept.agreement):
                self._report.add(f"{name}: {wrong}")
        async with self._scratch.transaction() as tx:
            if row.period in await invoice_store.final_names(tx, row.customer):
                self._report.add(f"{name}: there is one of this period before it")
                return  # as above
            await store.put_rows(tx, "invoices", [tuple(row)])
            await store.put_rows(tx, "adjustments", around.adjustments)
            await store.put_rows(tx, "term_uses", around.uses)

    async def _learn(self, around: Around, agreement: Agreement) -> None:
        """Take in what was agreed, granted and void before an invoice was made."""
        async with self._ledger.reading() as tx:
            while self._terms.row_id < agreement.terms_row:
                learned = await terms_after(tx, self._terms.row_id, limit=ROWS_PER_READ)
                before = [row for row in learned if row.id <= agreement.terms_row]
                if not before:
                    break
                self._terms.add(before)
            granted: dict[str, Sequence[Row]] = {}
            if around.link_id is not None:
                for entry in ENTRIES:
                    ids = await journal.rows_between(
                        tx, self._link_id, around.link_id, entry=entry
                    )
                    granted[entry] = await journal.covered_rows(tx, entry, ids)
                self._link_id = max(self._link_id, around.link_id)
        await settle_owners(self._scratch, self._terms, since_ms=NEVER_MS)
        async with self._scratch.transaction() as tx:
            for entry, rows in granted.items():
                await store.put_rows(tx, entry, rows)

    async def _wrong(
        self, around: Around, kept: Statement, agreement: Agreement
    ) -> list[str]:
        """Return how what is kept differs from what is computed, in words."""
        row = around.row
        self._clock.at_ms = row.finalized_ms
        reached = self._usage.reached
        if agreement.generation not in self._usage.generations:
            return [f"it names counting {agreement.generation}, which there is not"]
        if kept.counted_up_to_event != reached:
            return [
                f"it counts up to event {kept.counted_up_to_event}, and what is there"
                f" by its turn is event {reached}"
            ]
        async with self._ledger.reading() as tx:
            known = await last_known(tx, reached)
        at = Counted(agreement.generation, reached, None, None, known)
        period = Period(row.period_start_ms, row.period_end_ms, row.period)
        try:
            await self._learn(around, agreement)
            customer = self._customers.get(row.customer)
            if customer is None:
                return [f"nothing was agreed with {row.customer} when it was made"]
            async with self._scratch.reading() as tx:
                computed = await self._drawing.final(
                    *(tx, at, customer, period, await past_of(tx, customer.id)),
                    now_ms=row.finalized_ms,
                    gaps=kept.accepted_gaps,
                )
        except UNREADABLE as error:
            return [f"it cannot be computed: {error}"]
        return list(differences(around, kept, computed))


async def verify_invoices(again: InvoicesAgain, report: Report) -> None:
    """Compute all final invoices again; what of the archive is needed is a finding.

    Raises:
        DiskFull: there is no room for the scratch ledger.
    """
    try:
        await again.run()
    except ArchiveFailed as error:
        report.add(f"no further invoice can be computed again: {error}")


def _read(row: FinalRow) -> Statement | None:
    try:
        return _decode(row.document)
    except (msgspec.MsgspecError, ValueError):
        return None


def _named(around: Around) -> str:
    row = around.row
    numbers = [
        number_text(document[1], document[2])
        for document in around.documents
        if document[3] == "invoice"
    ]
    return f"the final invoice {' '.join([*numbers, row.period])} of {row.customer}"
