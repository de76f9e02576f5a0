"""Tells Stripe of final invoices, call by call: each made once, whatever happens.

A row is ``sending`` on disk before a socket is touched. After a crash, or an answer that
was lost, the same call goes out again under the same Idempotency-Key, which Stripe keeps
for 24 hours. What is in doubt for longer, or was answered by a failure that Stripe keeps,
is looked for at Stripe by our ids in its metadata, and made anew only where it is not.
Before an invoice is final there its lines are compared with ours, to the cent.
"""

import time
from collections.abc import Mapping
from typing import Any, Final, Protocol, assert_never

from meterline_sidecar.clock import HOUR_MS, MINUTE_MS, Clock
from meterline_sidecar.errors import (
    AnsweredWithFailure,
    ConfigError,
    RetryLater,
    StripeRefused,
)
from meterline_sidecar.store import stripe_calls as store
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.stripe_calls import CallRow
from meterline_sidecar.stripe.account import wrong_account
from meterline_sidecar.stripe.calls import StripeCalls, part_of, read_all
from meterline_sidecar.stripe.invoice_check import GONE
from meterline_sidecar.stripe.invoice_job import Job
from meterline_sidecar.stripe.invoice_lines import (
    INVOICE,
    LINE,
    NOTE,
    credit_notes_of,
    differences,
    lines_of,
    total_differs,
    wanted_of,
)
from meterline_sidecar.stripe.pacing import Backoff

KEY_MS_MAX: Final = 23 * HOUR_MS
"""Stripe keeps a key for 24 hours: what is older is looked for first."""
ASK_FIRST_MS: Final = 0
"""A doubt since ever: what was answered with a failure is looked for first."""
CALLS_PER_LOOK: Final = 100
RUN_S_MAX: Final = 30.0
ATTEMPTS_MIN: Final = 6
FAILING_MS: Final = 15 * MINUTE_MS
"""A call that failed so often, or that has waited so long, is named in ``/status``."""
RETRY: Final = Backoff(first_s=2.0, max_s=600.0)
ENDS: Final = {"void": "void", "uncollectible": "uncollectible", "paid": "paid"}
"""Steps that lead to a status at Stripe."""
VERBS: Final[Mapping[str, tuple[str, dict[str, object]]]] = {
    "void": ("void", {}),
    "uncollectible": ("mark_uncollectible", {}),
    "paid": ("pay", {"paid_out_of_band": True}),
}
AGAIN: Final = "let it go again with `meterline outbox invoice NUMBER --retry`"
LEFT_ALONE: Final = f"nothing was changed there: fix it, then {AGAIN}"


class Account(StripeCalls, Protocol):
    """The way to one account at Stripe."""

    @property
    def is_live(self) -> bool | None:
        """Whether the key is of live mode; ``None`` while there is no key."""
        ...


class Books(Protocol):
    """What becomes of our invoices by what Stripe does."""

    async def told(self, tx: Tx, invoice_id: int, stripe_id: str) -> None:
        """Note that Stripe has an invoice, final, and collects it."""
        ...


class _Held(Exception):
    """A person has to look; the text says at what."""


class Invoicer:
    """Makes the calls that are due, those of each invoice in their order.

    Args:
        wall: says how old a key is, and when to try again.
    """

    def __init__(
        self,
        database: Database,
        stripe: Account,
        books: Books,
        *,
        wall: Clock,
        backoff: Backoff = RETRY,
    ) -> None:
        self._database = database
        self._stripe = stripe
        self._books = books
        self._wall = wall
        self._backoff = backoff
        self._is_new = True

    def forget(self) -> None:
        """Begin anew: another process made calls since, and may have died over one."""
        self._is_new = True

    async def run(self) -> None:
        """Make every call that is due, for up to half a minute.

        None with a key of another account than the ledger's: the reporter says so.

        Raises:
            StripeRefused: the key may not, so that nothing goes on.
            ConfigError: there is no key, or it is of another account.
        """
        if self._is_new:  # what a process that died was making
            async with self._database.transaction() as tx:
                await store.recover_calls(tx)
            self._is_new = False
        end_s = time.monotonic() + RUN_S_MAX
        while time.monotonic() < end_s:
            async with self._database.reading() as tx:
                rows = await store.due(
                    tx, wall_ms=self._wall.now_ms(), limit=CALLS_PER_LOOK
                )
            if not rows or not await self._is_right_account():
                return
            for row in rows:
                if time.monotonic() >= end_s:
                    return
                await self._make(row)

    async def _is_right_account(self) -> bool:
        async with self._database.transaction() as tx:
            return await wrong_account(tx, is_live=self._stripe.is_live) is None

    async def failing(self, tx: Tx, *, limit: int) -> list[tuple[str, CallRow]]:
        """Return calls that keep failing, each with the number of its invoice."""
        before_ms = self._wall.now_ms() - FAILING_MS
        return await store.failing_calls(
            tx, attempts_min=ATTEMPTS_MIN, before_ms=before_ms, limit=limit
        )

    async def _make(self, row: CallRow) -> None:
        """Make one call, and note what became of it."""
        try:
            await self._step(row)
        except _Held as held:
            async with self._database.transaction() as tx:
                await store.hold_call(tx, row.id, reason=str(held)[:500])
        except RetryLater as error:
            wait_ms = int(self._backoff.wait_s(row.attempts + 1) * 1_000)
            async with self._database.transaction() as tx:
                await store.put_off(
                    tx,
                    row.id,
                    reason=str(error)[:500],
                    next_ms=self._wall.now_ms() + wait_ms,
                    doubt_ms=ASK_FIRST_MS
                    if isinstance(error, AnsweredWithFailure)
                    else None,
                )
        except (StripeRefused, ConfigError) as error:
            is_key = isinstance(error, ConfigError) or error.status in (401, 403)
            async with self._database.transaction() as tx:
                if is_key:
                    next_ms = self._wall.now_ms() + 60_000
                    await store.put_off(
                        tx, row.id, reason=str(error)[:500], next_ms=next_ms
                    )
                else:
                    await store.hold_call(tx, row.id, reason=self._said(row, error))
            if is_key:
                raise

    def _said(self, row: CallRow, error: StripeRefused | ConfigError) -> str:
        is_gone = getattr(error, "status", 0) == GONE or "No such invoice:" in str(
            error
        )
        if is_gone and row.step in ("item", "finalize"):
            return f"somebody deleted its draft at Stripe: {AGAIN}, which makes another"
        return str(error)[:500]

    async def _step(self, row: CallRow) -> None:
        async with self._database.reading() as tx:
            rows = await store.calls_of(tx, [row.invoice_id])
        job = Job(row, rows)
        match row.step:
            case "invoice":
                await self._make_once(job, "/v1/invoices", job.params)
            case "item":
                params = {**job.params, "invoice": job.stripe_id}
                await self._make_once(job, "/v1/invoiceitems", params)
            case "credit_note":
                params = {**job.params, "invoice": job.stripe_id}
                await self._make_once(job, "/v1/credit_notes", params)
            case "finalize":
                if not await self._is_final(job):
                    await self._call(job, "finalize")
                await self._done(job, None)
            case "send":
                await self._send(job)
            case "delete":
                await self._delete(job)
            case "void" | "uncollectible" | "paid":
                await self._end(job)
            case _:
                assert_never(row.step)

    async def _make_once(self, job: Job, path: str, params: dict[str, Any]) -> None:
        """Make an object at Stripe, unless it is there."""
        row = job.row
        # The list of a customer is asked for whatever is known here: a ledger that was
        # put back from a backup does not know what it has told.
        if row.step == "invoice" or self._is_in_doubt(row):
            found = await self._find(job)
            if found is not None:
                await self._done(job, found)
                return
            if self._is_in_doubt(row):
                job = await self._renewed(job)
        if row.step == "credit_note":
            params = await self._covered(job, params)
        answer = await self._post(job, path, params)
        if not isinstance(answer.get("id"), str):
            raise RetryLater(f"{path}: the answer was no object", after_s=60.0)
        await self._done(job, answer["id"])

    async def _renewed(self, job: Job) -> Job:
        """Return a call that certainly did nothing under a key that is new."""
        async with self._database.transaction() as tx:
            await store.renew_key(tx, job.row.id, now_ms=self._wall.now_ms())
        return job.renewed()

    def _is_in_doubt(self, row: CallRow) -> bool:
        """Say whether Stripe may have done it, and forgotten the key by now."""
        before_ms = self._wall.now_ms() - KEY_MS_MAX
        is_doubted = row.doubt_ms is not None and row.doubt_ms < before_ms
        return is_doubted or row.created_ms < before_ms

    async def _find(self, job: Job) -> str | None:
        """Return the id of what a call made at Stripe; ``None``: nothing.

        Raises:
            _Held: there are several.
        """
        match job.row.step:
            case "invoice":
                name, value = INVOICE, job.mark
                found = await read_all(
                    self._stripe, "/v1/invoices", {"customer": job.row.stripe_customer}
                )
            case "item":
                name, value = LINE, job.row.ref
                query = {"invoice": job.stripe_id}
                found = await read_all(self._stripe, "/v1/invoiceitems", query)
            case _:
                name, value = NOTE, job.row.ref
                found = await credit_notes_of(self._stripe, job.stripe_id)
        ids = [
            str(one["id"])
            for one in found
            if part_of(one, "metadata").get(name) == value
        ]
        if len(ids) > 1:
            raise _Held(
                f"Stripe has several of it, {', '.join(ids[:5])}: take away all but"
                f" one, then {AGAIN}"
            )
        return ids[0] if ids else None

    async def _covered(self, job: Job, params: dict[str, Any]) -> dict[str, Any]:
        """Return a credit note with where goes what is beyond what is left to pay.

        Source: docs.stripe.com/api/credit_notes/create, read 2026-11-26.
        """
        invoice = await self._stripe.call("get", f"/v1/invoices/{job.stripe_id}")
        beyond = params["amount"] - int(invoice.get("amount_remaining") or 0)
        return {**params, "credit_amount": beyond} if beyond > 0 else params

    async def _is_final(self, job: Job) -> bool:
        """Compare a draft with ours; say whether it is final already.

        Raises:
            _Held: it is not what it should be, or is not to be final any more.
        """
        invoice = await self._stripe.call("get", f"/v1/invoices/{job.stripe_id}")
        lines = await lines_of(self._stripe, job.stripe_id)
        wanted = wanted_of(job.rows)
        differ = [
            *differences(wanted, lines, job.first["currency"]),
            *total_differs(wanted, invoice, job.first),
        ]
        if differ:
            raise _Held(f"it was edited at Stripe: {'; '.join(differ)}; {LEFT_ALONE}")
        status = invoice.get("status")
        if status not in ("draft", "open", "paid"):
            raise _Held(f"it is {status} at Stripe, before it was told to be final")
        return bool(status != "draft")

    async def _end(self, job: Job) -> None:
        """Lead an invoice to its end at Stripe, unless it is there.

        Raises:
            _Held: it has come to another one.
        """
        invoice = await self._stripe.call("get", f"/v1/invoices/{job.stripe_id}")
        status, wanted = invoice.get("status"), ENDS[job.row.step]
        if status not in (wanted, "open", "uncollectible"):
            raise _Held(f"it is {status} at Stripe, and {wanted} here")
        if status != wanted:
            verb, params = VERBS[job.row.step]
            await self._call(job, verb, params)
        await self._done(job, None)

    async def _send(self, job: Job) -> None:
        """Have an invoice sent, unless it is paid or has ended by now.

        Raises:
            StripeRefused: it waits to be paid, and is not sent all the same.
        """
        try:
            await self._call(job, "send")
        except StripeRefused as error:
            if error.status in (401, 403):
                raise
            found = await self._stripe.call("get", f"/v1/invoices/{job.stripe_id}")
            if found.get("status") in ("draft", "open"):
                raise
        await self._done(job, None)

    async def _delete(self, job: Job) -> None:
        """Take a draft away that is not wanted any more, if there is one."""
        stripe_id = job.rows[0].object_id or await self._find(
            job._replace(row=job.rows[0])
        )
        if stripe_id is not None:
            try:
                await self._stripe.call("delete", f"/v1/invoices/{stripe_id}")
            except StripeRefused as error:
                if error.status != GONE:
                    raise
        await self._done(job, None)

    async def _call(
        self, job: Job, verb: str, params: Mapping[str, object] | None = None
    ) -> None:
        """Change an invoice that has not changed yet, as it was looked at before.

        Only a letter cannot be looked for: what may have been sent is sent again.
        """
        if self._is_in_doubt(job.row):
            job = await self._renewed(job)
        path = f"/v1/invoices/{job.stripe_id}/{verb}"
        answer = await self._post(job, path, {**job.params, **(params or {})})
        if answer.get("id") != job.stripe_id:
            raise RetryLater(f"{path}: the answer was no invoice", after_s=60.0)

    async def _post(
        self, job: Job, path: str, params: dict[str, Any]
    ) -> dict[str, Any]:
        """Make a call, which is on disk before."""
        async with self._database.transaction() as tx:
            if not await store.mark_calling(tx, job.row, now_ms=self._wall.now_ms()):
                raise RetryLater("it was changed meanwhile", after_s=1.0)
        return await self._stripe.call("post", path, params, key=job.key)

    async def _done(self, job: Job, object_id: str | None) -> None:
        steps = {one.step for one in job.rows}
        is_told = job.row.step == ("send" if "send" in steps else "finalize")
        async with self._database.transaction() as tx:
            await store.finish_call(tx, job.row.id, object_id=object_id)
            if is_told:
                await self._books.told(tx, job.row.invoice_id, job.stripe_id)
