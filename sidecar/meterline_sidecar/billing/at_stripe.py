"""What Stripe is told of final invoices, and which are collected through it.

Their calls are of `stripe_plan`; making them is `stripe/invoicing.py`, and what comes back
`heard`.
"""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from meterline_pricing import PricingError
from meterline_sidecar.billing.breakdown import negative
from meterline_sidecar.billing.collection import (
    AT_STRIPE,
    Collection,
    Step,
)
from meterline_sidecar.billing.credited_there import net_of, only_there, reason_of
from meterline_sidecar.billing.documents import Issuer, document_of, number_text
from meterline_sidecar.billing.heard import invoice_row
from meterline_sidecar.billing.statement import final_of
from meterline_sidecar.billing.stripe_plan import (
    WORDS_MAX,
    NotTold,
    PlannedCalls,
    follow,
    in_major,
    minor,
)
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config, Customer
from meterline_sidecar.store import documents, facts, invoice_states
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.store.documents import DocumentRow
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.stripe_calls import CallRow, NewCall
from meterline_sidecar.store.stripe_calls import Step as CallStep
from meterline_sidecar.stripe.invoice_lines import NOTE

CURSOR: Final = "stripe_told"
"""The fact that says up to which rows Stripe was told."""
INSTALL: Final = "stripe_install"
"""The fact that names this ledger at Stripe, with whatever is made of it."""
NET: Final = "meterline_net"
TAX: Final = "meterline_tax"
INVOICES_PER_STEP: Final = 10  # some milliseconds: ingest waits for it

log = logging.getLogger(__name__)
_encode = msgspec.json.Encoder().encode


class Cursor(msgspec.Struct, frozen=True):
    """Up to which rows it was looked at what Stripe is to be told."""

    invoice: int
    state: int
    document: int


class AtStripe:
    """Plans the calls, and keeps that Stripe has an invoice.

    Args:
        config: says now whose invoices are collected through Stripe, and how.
        stripe_ids: what customers are called there.
        wall: says how old a call is.
    """

    def __init__(
        self,
        database: Database,
        collection: Collection,
        *,
        config: Callable[[], Config],
        stripe_ids: Mapping[str, str | None],
        wall: Clock,
    ) -> None:
        self._database = database
        self._collection = collection
        self._config = config
        self._stripe_ids = stripe_ids
        self._wall = wall

    async def run(self) -> None:
        """Plan what Stripe is to be told since the last look.

        What was final before invoices were first collected through it is not told.
        """
        config = self._config()
        is_on = config.stripe.mode == "send" and any(
            rule.bill_through == "invoice" for rule in config.collect_rules
        )
        async with self._database.reading() as tx:
            known = await facts.get_fact(tx, CURSOR)
            newest = Cursor(*await store.newest_rows(tx))
        if known is None and not is_on:
            return
        cursor = newest if known is None else msgspec.json.decode(known, type=Cursor)
        if known is None:
            async with self._database.transaction() as tx:
                await _keep(tx, cursor)
                await facts.put_fact(tx, INSTALL, secrets.token_hex(8))
        elif not is_on and cursor.invoice < newest.invoice:
            # What is told already goes on; what becomes final meanwhile is people's.
            cursor = Cursor(newest.invoice, cursor.state, cursor.document)
            async with self._database.transaction() as tx:
                await _keep(tx, cursor)
        while cursor.invoice < newest.invoice:
            cursor = await self._plan_some(cursor, newest)
        if (cursor.state, cursor.document) != (newest.state, newest.document):
            await self._plan_changes(cursor, newest)

    async def _plan_some(self, cursor: Cursor, newest: Cursor) -> Cursor:
        async with self._database.transaction() as tx:
            ids = await store.untold_invoices(
                tx, after_id=cursor.invoice, limit=INVOICES_PER_STEP
            )
            for invoice_id in ids:
                await self._plan(tx, invoice_id)
            last = ids[-1] if len(ids) == INVOICES_PER_STEP else newest.invoice
            cursor = Cursor(max(last, cursor.invoice), cursor.state, cursor.document)
            await _keep(tx, cursor)
        return cursor

    async def _plan(self, tx: Tx, invoice_id: int) -> None:
        """Plan the calls of one invoice, if it is collected through Stripe."""
        statement, period = await final_of(tx, invoice_id)
        rule = self._config().collects(statement.customer, statement.invoice.plan)
        (row, *_) = await documents.of_invoice(tx, invoice_id)
        owing = await self._collection.owing(tx, row)
        is_open = owing.state in ("final", "sent") or statement.due < 0
        if rule is None or not is_open or not (statement.due or statement.also_due):
            return
        install = await facts.get_fact(tx, INSTALL)
        planned = PlannedCalls(
            row,
            self._stripe_ids.get(statement.customer) or "",
            f"{install}/{invoice_id}",
            self._wall.now_ms(),
        )
        try:
            await store.add_calls(tx, planned.calls(statement, period, rule))
        except (NotTold, PricingError) as error:
            await store.add_calls(tx, [planned.draft(statement, period, rule)])
            (first,) = await store.calls_of(tx, [invoice_id])
            await store.hold_call(tx, first.id, reason=str(error)[:WORDS_MAX])
            log.warning("%s is not collected: %s", planned.number, error)

    async def _plan_changes(self, cursor: Cursor, newest: Cursor) -> None:
        async with self._database.transaction() as tx:
            for invoice_id in await store.changed_invoices(
                tx, after_state=cursor.state, after_document=cursor.document
            ):
                await self._plan_change(tx, invoice_id)
            await _keep(tx, Cursor(cursor.invoice, newest.state, newest.document))

    async def _plan_change(self, tx: Tx, invoice_id: int) -> None:
        """Plan what Stripe is to be told of an invoice that was credited, or ended."""
        calls = await store.calls_of(tx, [invoice_id])
        known = {(call.step, call.ref) for call in calls}
        steps = await invoice_states.states_of(tx, invoice_id)
        last = steps[-1]
        new: list[NewCall] = []
        first = calls[0]
        if last.state == "void":
            if not _may_be_final(calls):
                await store.drop_calls(tx, invoice_id, reason="it is void")
                new = [follow(first, "delete", {}, self._wall.now_ms())]
            elif last.author != AT_STRIPE:
                new = [follow(first, "void", {}, self._wall.now_ms())]
        else:
            new = [
                self._noted(first, note)
                for note in await documents.of_invoice(tx, invoice_id)
                if note.kind == "credit_note"
            ]
            if last.state in ("uncollectible", "paid") and last.author != AT_STRIPE:
                step: CallStep = "paid" if last.state == "paid" else "uncollectible"
                if last.state == "uncollectible" or await self._is_paid_here(tx, first):
                    new.append(follow(first, step, {}, self._wall.now_ms()))
        await store.add_calls(
            tx, [call for call in new if (call.step, call.ref) not in known]
        )

    async def _is_paid_here(self, tx: Tx, first: CallRow) -> bool:
        """Say whether people recorded what was paid: a credit note tells by itself."""
        return await self._collection.has_payments(tx, first.invoice_id)

    def _noted(self, first: CallRow, note: DocumentRow) -> NewCall:
        number = number_text(note.series, note.number)
        details = document_of(note).details
        metadata = {NOTE: number}
        for part in map(negative, details.breakdown):  # there its taxes are lines, too
            metadata |= {NET: f"{part.net:f}", TAX: f"{part.tax:f}"}
        params = {
            "amount": minor(-Decimal(note.amount), note.currency),
            "memo": details.reason[:WORDS_MAX],
            "metadata": metadata,
        }
        return follow(first, "credit_note", params, self._wall.now_ms(), ref=number)

    async def retry(self, invoice_id: int) -> None:
        """Let what is held of an invoice go again, as things are now.

        Raises:
            NotTold: nothing of it is held.
        """
        async with self._database.transaction() as tx:  # sealed
            calls = await store.calls_of(tx, [invoice_id])
            if not any(call.state == "held" for call in calls):
                raise NotTold("nothing of this invoice is held on its way to Stripe")
            if calls[0].state == "held":  # nothing is there: to whom it goes may change
                await store.forget_calls(tx, invoice_id)
                await self._plan(tx, invoice_id)
                if await store.calls_of(tx, [invoice_id]):
                    # With what became of it while it was held.
                    await self._plan_change(tx, invoice_id)
            else:
                await store.release_calls(tx, invoice_id)

    async def take_over(
        self,
        invoice: DocumentRow,
        notes: Sequence[Mapping[str, Any]],
        *,
        issuer: Issuer,
        buyer: Customer,
        author: str,
        now_ms: int,
    ) -> None:
        """Make here the credit notes that somebody made at Stripe, which is told of none.

        Args:
            notes: all that Stripe has of the invoice.

        Raises:
            NotTold: there is none, or it is not clear which.
            CreditRefused: more was credited there than is left of the invoice.
        """
        async with self._database.transaction() as tx:  # sealed
            calls = await store.calls_of(tx, [invoice.invoice_id])
            for note in only_there(calls, notes):
                reason = reason_of(note)
                made = await issuer.credit_note(
                    tx,
                    invoice,
                    in_major(net_of(note, calls[0]), invoice.currency),
                    buyer=buyer,
                    reason=reason,
                    author=author,
                    now_ms=now_ms,
                )
                number = number_text(made.series, made.number)
                step = Step(author, f"{number} credits it: {reason}")
                await self._collection.settle(tx, invoice, step)
                params = {"amount": note["amount"], "memo": reason}
                wall_ms = self._wall.now_ms()
                call = follow(calls[0], "credit_note", params, wall_ms, ref=number)
                await store.add_calls(tx, [call])
                (*_, row) = await store.calls_of(tx, [invoice.invoice_id])
                await store.finish_call(tx, row.id, object_id=str(note["id"]))

    async def told(self, tx: Tx, invoice_id: int, stripe_id: str) -> None:
        """Note that Stripe has an invoice, final, and collects it."""
        row = await invoice_row(tx, invoice_id)
        if (await self._collection.owing(tx, row)).state == "final":
            step = Step(AT_STRIPE, f"Stripe collects it as {stripe_id}")
            await self._collection.send(tx, row, step)


def _may_be_final(calls: list[CallRow]) -> bool:
    """Say whether an invoice is final at Stripe, or may be."""
    return any(
        call.step == "finalize"
        and (call.state in ("done", "sending") or call.doubt_ms is not None)
        for call in calls
    )


async def _keep(tx: Tx, cursor: Cursor) -> None:
    await facts.put_fact(tx, CURSOR, _encode(cursor).decode())
