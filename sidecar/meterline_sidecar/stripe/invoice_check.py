"""Compares invoices that were told with what Stripe has, and keeps what differs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from meterline_sidecar.clock import Clock
from meterline_sidecar.errors import MeterlineError, RetryLater, StripeRefused
from meterline_sidecar.store import facts
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.stripe.calls import StripeCalls
from meterline_sidecar.stripe.comparison import InvoiceVerdict, ReconciledInvoice
from meterline_sidecar.stripe.given_back import given_back
from meterline_sidecar.stripe.invoice_lines import (
    MISSED,
    credit_differs,
    differences,
    lines_of,
    state_differs,
    total_differs,
    wanted_of,
)

GONE: Final = 404
NOT_PERMITTED: Final = 403
ACCOUNT_STATUSES: Final = frozenset({401, NOT_PERMITTED})
"""Refusals of the key: they concern all that is asked for."""
FAILURES_IN_A_ROW_MAX: Final = 3
"""So many that cannot be asked about now mean that none can."""
COMPARED: Final = "stripe_invoices_compared"
"""The fact that says what the last comparisons of invoices found."""
NOT_TAKEN_OVER: Final = "not taken over: "
"""How a difference begins that a webhook left, and no comparison can see."""
REFUSED: Final = "refused: "
"""How it begins what the books say of a step that they cannot take."""
DIFFERENT_MAX: Final = 1_000  # that are kept by their number; 100 kB


_encode = msgspec.json.Encoder().encode


class ComparedInvoices(msgspec.Struct, frozen=True):
    """What the last comparisons of invoices found."""

    after: int = 0
    """Behind which invoice the next look goes on."""
    checked_ms: int | None = None
    different: dict[int, tuple[str, str]] = {}
    """By invoice: its number, and what differs, in words."""


async def note_difference(tx: Tx, invoice_id: int, number: str, text: str) -> None:
    """Note that an invoice differs, until a comparison finds that it does not."""
    known = await compared_invoices(tx)
    different = {**known.different, invoice_id: (number, text[:500])}
    kept = dict(list(different.items())[-DIFFERENT_MAX:])
    await _keep(tx, msgspec.structs.replace(known, different=kept))


async def _keep(tx: Tx, found: ComparedInvoices) -> None:
    await facts.put_fact(tx, COMPARED, _encode(found).decode())


async def compared_invoices(tx: Tx) -> ComparedInvoices:
    """Return what the last comparisons of invoices found."""
    known = await facts.get_fact(tx, COMPARED)
    if known is None:
        return ComparedInvoices()
    return msgspec.json.decode(known, type=ComparedInvoices)


class Books(Protocol):
    """How our invoices stand, and what becomes of them by what Stripe says."""

    async def standing(self, tx: Tx, invoice_id: int, stripe_id: str) -> str:
        """Return the state of an invoice; ``paid`` once Stripe's payment is kept."""
        ...

    async def heard(
        self, tx: Tx, what: str, stripe_id: str, about: Mapping[str, Any]
    ) -> str:
        """Take the step that an event is about; return in words what was done."""
        ...


class InvoiceReconciler:
    """Compares invoices that were told with what Stripe has.

    What a webhook would have said, and did not, is taken over where it changes no line:
    that an invoice was paid, or given up, and what was given back.
    """

    def __init__(
        self, database: Database, stripe: StripeCalls, *, clock: Clock
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._clock = clock
        self.books: Books | None = None
        """Says how invoices stand here, once there is somebody who does."""
        self.may_not_read: str | None = None
        """Why the last comparison could not ask what was given back; ``None``: it could."""

    async def run(self, *, start_ms: int, end_ms: int) -> list[ReconciledInvoice]:
        """Compare every invoice of a period that ends in a span.

        Raises:
            RetryLater: Stripe cannot be asked now.
        """
        async with self._database.reading() as tx:
            told = await store.told_invoices(tx, start_ms=start_ms, end_ms=end_ms)
        return await self._compare(told)

    async def watch(self, *, start_ms: int, end_ms: int, invoices_max: int) -> int:
        """Compare some invoices of a span: those that differed, then the next ones.

        Returns how many were compared.

        Raises:
            RetryLater: Stripe cannot be asked now.
        """
        async with self._database.reading() as tx:
            told = await store.told_invoices(tx, start_ms=start_ms, end_ms=end_ms)
            known = await compared_invoices(tx)
        differed = [one for one in told if one[0] in known.different][:invoices_max]
        # Round and round: whoever is behind the last look comes first.
        others = [one for one in told if one[0] not in known.different]
        others.sort(key=lambda one: (one[0] <= known.after, one[0]))
        chosen = differed + others[: invoices_max - len(differed)]
        after = chosen[-1][0] if len(chosen) > len(differed) else known.after
        await self._compare(chosen, after=after)
        return len(chosen)

    async def _compare(
        self, told: Sequence[tuple[int, str]], *, after: int | None = None
    ) -> list[ReconciledInvoice]:
        """Compare invoices, and keep which of them differ.

        What Stripe does not say of one is its own verdict, and holds up no other.

        Raises:
            StripeRefused: the key may not read.
            RetryLater: Stripe cannot be asked now, whatever the invoice.
        """
        async with self._database.reading() as tx:
            rows = await store.calls_of(tx, [invoice_id for invoice_id, _ in told])
        by_invoice: dict[int, list[CallRow]] = {}
        for row in rows:
            by_invoice.setdefault(row.invoice_id, []).append(row)
        self.may_not_read = None
        found: list[ReconciledInvoice] = []
        compared: dict[int, ReconciledInvoice] = {}
        n_failed = 0
        for invoice_id, period in told:
            answer = _here(by_invoice[invoice_id], period)
            try:
                answer = await self._one(by_invoice[invoice_id], answer)
                compared[invoice_id] = answer
                n_failed = 0
            except RetryLater as error:
                n_failed += 1
                if n_failed in (FAILURES_IN_A_ROW_MAX, len(told)):
                    raise
                answer = _refused(answer, error)
            found.append(answer)
        if found:
            async with self._database.transaction() as tx:
                known = await compared_invoices(tx)
                await _keep(tx, self._kept(known, compared, after))
        return found

    def _kept(
        self,
        known: ComparedInvoices,
        found: Mapping[int, ReconciledInvoice],
        after: int | None,
    ) -> ComparedInvoices:
        # What was not taken over shows in no comparison: a person asks for the one that
        # takes it away.
        different = {
            id_: of
            for id_, of in known.different.items()
            if id_ not in found
            or (after is not None and of[1].startswith(NOT_TAKEN_OVER))
        }
        different |= {
            invoice_id: (one.invoice, "; ".join(one.differences)[:500])
            for invoice_id, one in found.items()
            if one.verdict in ("different", "refused")
        }
        return ComparedInvoices(
            after=known.after if after is None else after,
            checked_ms=self._clock.now_ms(),
            different=dict(list(different.items())[-DIFFERENT_MAX:]),
        )

    async def _one(
        self, rows: list[CallRow], answer: ReconciledInvoice
    ) -> ReconciledInvoice:
        first = rows[0]
        if first.object_id is None:
            return answer
        try:
            found = await self._stripe.call("get", f"/v1/invoices/{first.object_id}")
            lines = await lines_of(self._stripe, first.object_id)
        except StripeRefused as error:
            if error.status == GONE and any(row.step == "delete" for row in rows):
                return msgspec.structs.replace(
                    answer, status="deleted", verdict="equal"
                )
            if error.status in ACCOUNT_STATUSES:
                raise
            return _refused(answer, error)
        params = msgspec.json.decode(first.params)
        wanted = wanted_of(rows)
        is_held = answer.verdict == "held"
        is_waiting = any(row.state in ("pending", "sending") for row in rows)
        differ = tuple(differences(wanted, lines, params["currency"]))
        differ += tuple(total_differs(wanted, found, params))
        if not (is_waiting or is_held):
            state = await self._caught_up(first, found)
            differ += tuple(state_differs(rows, found.get("status"), state))
            if found.get("status") == "paid":
                differ += tuple(await self._given_back(str(first.object_id)))
            differ += tuple(credit_differs(rows, found))
        verdict: InvoiceVerdict = "different" if differ else "equal"
        return msgspec.structs.replace(
            answer,
            status=found.get("status"),
            theirs=sum(line["amount"] for line in lines),
            verdict=answer.verdict if is_waiting or is_held else verdict,
            differences=answer.differences + (() if is_waiting else differ),
        )

    async def _caught_up(self, first: CallRow, found: Mapping[str, Any]) -> str:
        """Return how an invoice stands here, once it has what Stripe says of it."""
        if self.books is None:
            return "final"
        stripe_id = str(first.object_id)
        async with self._database.reading() as tx:
            state = await self.books.standing(tx, first.invoice_id, stripe_id)
        what = MISSED.get(str(found.get("status")))
        if what is None or state not in ("final", "sent", "uncollectible"):
            return state
        async with self._database.transaction() as tx:
            await self.books.heard(tx, what, stripe_id, found)
            return await self.books.standing(tx, first.invoice_id, stripe_id)

    async def _given_back(self, stripe_id: str) -> list[str]:
        """Take over what was given back; return in words what cannot be."""
        differ: list[str] = []
        if self.books is None or self.may_not_read is not None:
            return differ
        try:
            async for what, about in given_back(self._stripe, stripe_id):
                async with self._database.transaction() as tx:
                    said = await self.books.heard(tx, what, stripe_id, about)
                if said.startswith(REFUSED):
                    differ.append(said.removeprefix(REFUSED))
        except StripeRefused as error:
            if error.status != NOT_PERMITTED:
                raise
            # Who may not ask compares all else: a webhook tells of most.
            self.may_not_read = str(error)
        return differ


def _here(rows: Sequence[CallRow], period: str) -> ReconciledInvoice:
    """Return what is known of an invoice without a question to Stripe."""
    held = next((row.reason for row in rows if row.state == "held"), None)
    return ReconciledInvoice(
        invoice=msgspec.json.decode(rows[0].params)["metadata"]["meterline_number"],
        period=period,
        stripe_invoice=rows[0].object_id,
        status=None,
        ours=sum(one.amount for one in wanted_of(rows)),
        theirs=None,
        verdict="waiting" if held is None else "held",
        differences=() if held is None else (held,),
    )


def _refused(answer: ReconciledInvoice, error: MeterlineError) -> ReconciledInvoice:
    return msgspec.structs.replace(answer, verdict="refused", differences=(str(error),))
