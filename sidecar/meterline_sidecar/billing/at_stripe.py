"""What Stripe is told of final invoices, and what its answers do to ours.

Which invoices are collected through Stripe, and which step an invoice takes by what Stripe
reports. Their calls are of `stripe_plan`; making them is `stripe/invoicing.py`.
"""

import logging
import secrets
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from meterline_pricing import PricingError
from meterline_sidecar.billing.breakdown import negative
from meterline_sidecar.billing.collection import (
    AT_STRIPE,
    Collection,
    Payment,
    Step,
    StepRefused,
)
from meterline_sidecar.billing.documents import document_of, number_text
from meterline_sidecar.billing.statement import final_of
from meterline_sidecar.billing.stripe_plan import (
    WORDS_MAX,
    NotTold,
    PlannedCalls,
    follow,
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
from meterline_sidecar.stripe.calls import part_of
from meterline_sidecar.stripe.invoice_check import NOTE

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
    """Plans the calls, and keeps what comes back.

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
        customer: Callable[[str], Customer | None],
        wall: Clock,
    ) -> None:
        self._database = database
        self._collection = collection
        self._config = config
        self._stripe_ids = stripe_ids
        self._customer = customer
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
            if all(call.attempts == 0 for call in calls):
                await store.forget_calls(tx, invoice_id)
                await self._plan(tx, invoice_id)
            else:
                await store.release_calls(tx, invoice_id)

    # --- what comes back

    async def told(self, tx: Tx, invoice_id: int, stripe_id: str) -> None:
        """Note that Stripe has an invoice, final, and collects it."""
        row = await _invoice_row(tx, invoice_id)
        if (await self._collection.owing(tx, row)).state == "final":
            step = Step(AT_STRIPE, f"Stripe collects it as {stripe_id}")
            await self._collection.send(tx, row, step)

    async def heard(
        self, tx: Tx, what: str, stripe_id: str, about: Mapping[str, Any]
    ) -> str:
        """Take the step that a webhook is about; return in words what was done.

        Args:
            what: the type of the event.
            stripe_id: of the invoice.
            about: what the event has: an invoice, or a charge.
        """
        call = await store.call_of_object(tx, stripe_id)
        if call is None:
            return f"{stripe_id} is no invoice of this ledger"
        row = await _invoice_row(tx, call.invoice_id)
        try:
            return await self._take(tx, what, row, stripe_id, about)
        except StepRefused as error:
            number = number_text(row.series, row.number)
            log.warning("%s says %s of %s: %s", AT_STRIPE, what, number, error)
            return f"refused: {error}"

    async def _take(
        self,
        tx: Tx,
        what: str,
        row: DocumentRow,
        stripe_id: str,
        about: Mapping[str, Any],
    ) -> str:
        match what:
            case "invoice.paid":
                return await self._paid(tx, row, stripe_id)
            case "invoice.payment_failed":
                cause = _failure(about)
                await self._collection.note(tx, row, Step(AT_STRIPE, cause))
                return cause
            case "invoice.voided":
                buyer = self._customer(row.customer)
                assert buyer is not None, "customers are never forgotten"
                step = Step(AT_STRIPE, f"{stripe_id} was voided at Stripe")
                await self._collection.void(tx, row, step, buyer=buyer)
                return "void"
            case "invoice.marked_uncollectible":
                step = Step(AT_STRIPE, f"{stripe_id} was given up at Stripe")
                await self._collection.give_up(tx, row, step)
                return "uncollectible"
            case "charge.refunded":
                return await self._refunded(tx, row, about)
            case _:
                return f"not about what becomes of invoices: {what}"

    async def _paid(self, tx: Tx, row: DocumentRow, stripe_id: str) -> str:
        left = (await self._collection.owing(tx, row)).left.get(
            row.currency, Decimal(0)
        )
        if left <= 0:
            return "paid already"
        payment = Payment(
            amount=left, currency=row.currency, reference=stripe_id, key=None
        )
        step = Step(AT_STRIPE, f"Stripe says that {stripe_id} is paid")
        await self._collection.pay(tx, row, payment, step)
        return f"{left} {row.currency} paid"

    async def _refunded(
        self, tx: Tx, row: DocumentRow, charge: Mapping[str, Any]
    ) -> str:
        """Keep what was refunded of a charge since the last time: Stripe says it whole."""
        currency = str(charge["currency"])
        whole = Decimal(int(charge["amount_refunded"])) / minor(Decimal(1), currency)
        name = str(charge["id"])
        before = await self._collection.given_back(tx, row.invoice_id, reference=name)
        if whole <= before:
            return "given back already"
        payment = Payment(amount=whole - before, currency=currency, reference=name)
        step = Step(AT_STRIPE, f"{name} was refunded at Stripe")
        await self._collection.refund(tx, row, payment, step)
        return f"{whole - before} {currency} given back"


def _may_be_final(calls: list[CallRow]) -> bool:
    """Say whether an invoice is final at Stripe, or may be."""
    return any(
        call.step == "finalize"
        and (call.state in ("done", "sending") or call.doubt_ms is not None)
        for call in calls
    )


def _failure(invoice: Mapping[str, Any]) -> str:
    attempts = invoice.get("attempt_count")
    said = part_of(invoice, "last_finalization_error").get("message")
    times = f", attempt {attempts}" if isinstance(attempts, int) else ""
    return f"a payment failed at Stripe{times}" + (f": {said}" if said else "")


async def _invoice_row(tx: Tx, invoice_id: int) -> DocumentRow:
    rows = await documents.of_invoice(tx, invoice_id)
    return next(row for row in rows if row.kind == "invoice")


async def _keep(tx: Tx, cursor: Cursor) -> None:
    await facts.put_fact(tx, CURSOR, _encode(cursor).decode())
