"""What Stripe reports later: meter events that it dropped, and invoices that were paid."""

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import msgspec

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import DAY_MS, Clock
from meterline_sidecar.errors import MeterlineError, RetryLater, StripeRefused
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import stripe_events
from meterline_sidecar.store.port import Database, Tx
from meterline_sidecar.store.stripe_events import StripeEvent
from meterline_sidecar.stripe.calls import Method, StripeCalls
from meterline_sidecar.stripe.given_back import DISPUTED, REFUNDED, charge_now
from meterline_sidecar.stripe.meter_events import identifier_of
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.stripe.webhook_shapes import (
    DropReason,
    DropReport,
    EventHead,
    SampleError,
    SentRequest,
    SnapshotEvent,
)

TOLERANCE_S: Final = 300
KEPT_MS: Final = 60 * DAY_MS
EVENTS_PER_STEP: Final = 1_000
FETCH_BACKOFF: Final = Backoff(first_s=10.0, max_s=600.0)
"""Stripe counts reads: a key without the permission must not use them up."""
NOT_ALLOWED: Final = frozenset({401, 403})
"""Refusals of the key: a person can change what Stripe says."""
REASON_CHARS_MAX: Final = 500
DROP_REPORTS: Final = (
    "v1.billing.meter.error_report_triggered",
    "v1.billing.meter.no_meter_found",
)

OF_REFUNDS: Final = ("refund.failed", "refund.updated", "charge.refund.updated")
"""Events about one refund, which may have failed days after it was made."""
OF_INVOICES: Final = (
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.voided",
    "invoice.marked_uncollectible",
    REFUNDED,
    DISPUTED,
    *OF_REFUNDS,
)
OF_CHARGES: Final = (REFUNDED, DISPUTED, *OF_REFUNDS)
"""Events about money that was given back; they name a charge, and maybe no invoice."""

log = logging.getLogger(__name__)


class BadWebhook(MeterlineError):
    """The request is not from Stripe, or not from now."""


class Books(Protocol):
    """What becomes of our invoices by what Stripe reports."""

    async def heard(
        self, tx: Tx, what: str, stripe_id: str, about: Mapping[str, Any]
    ) -> str:
        """Take the step that an event is about; return in words what was done."""
        ...


class Asking:
    """Reads what events are about; ever more seldom while that fails.

    Stripe counts reads: what it does not say now must not use them up.
    """

    def __init__(self, stripe: StripeCalls, wall: Clock) -> None:
        self._stripe = stripe
        self._wall = wall
        self._trouble: MeterlineError | None = None
        """Why nothing could be read the last time."""
        self._failures = 0
        self._ask_at_ms = 0

    async def call(
        self,
        method: Method,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Return an object of Stripe's: whoever asks here only reads.

        Raises:
            StripeRefused: there is no such object, or the key may not read it.
            MeterlineError: Stripe does not say, or did not when it was asked last.
        """
        assert (method, key) == ("get", None), "nothing is changed by asking"
        wait_s = (self._ask_at_ms - self._wall.now_ms()) / 1000
        if self._trouble is not None and 0 < wait_s <= FETCH_BACKOFF.max_s:
            raise self._trouble
        try:
            found = await self._stripe.call("get", path, params)
        except MeterlineError as error:
            if isinstance(error, StripeRefused) and error.status not in NOT_ALLOWED:
                raise
            wait_s = FETCH_BACKOFF.wait_s(self._failures)
            self._ask_at_ms = self._wall.now_ms() + int(wait_s * 1000)
            self._trouble, self._failures = error, self._failures + 1
            raise
        self._trouble, self._failures = None, 0
        return found


def check_signature(
    body: bytes, header: str, secrets: Iterable[Secret], *, now_s: Iterable[int]
) -> None:
    """Return if ``body`` was signed with one of ``secrets``, near one of the times.

    Raises:
        BadWebhook: it was not.
    """
    fields = [part.strip().partition("=") for part in header.split(",")]
    stamps = [value for name, _, value in fields if name == "t"]
    signatures = [value for name, _, value in fields if name == "v1"]
    if len(stamps) != 1 or not (stamps[0].isascii() and stamps[0].isdigit()):
        raise BadWebhook("no Stripe-Signature with a time")
    text = stamps[0].encode() + b"." + body
    expected = [
        hmac.new(secret.reveal().encode(), text, hashlib.sha256).hexdigest()
        for secret in secrets
    ]
    given = [signature for signature in signatures if signature.isascii()]
    if not any(hmac.compare_digest(one, sent) for one in expected for sent in given):
        raise BadWebhook("the signature does not match")
    at_s = int(stamps[0][:15])
    if all(abs(at_s - now) > TOLERANCE_S for now in now_s):
        raise BadWebhook(f"the signature is not of the last {TOLERANCE_S} seconds")


class Webhooks:
    """Stores what Stripe says, and turns the rows that it dropped ``rejected``."""

    def __init__(
        self,
        database: Database,
        stripe: StripeCalls,
        *,
        secrets: Callable[[], Sequence[Secret]],
        clock: Clock,
        wall: Clock,
    ) -> None:
        """Take the secrets as a function: each destination at Stripe has its own."""
        self._database = database
        self._reports = Asking(stripe, wall)
        self._payments = Asking(stripe, wall)
        self._charges = Asking(stripe, wall)
        self._secrets = secrets
        self._clock = clock
        self._wall = wall
        self.books: Books | None = None
        """Keeps what becomes of invoices, once there is somebody who does."""
        self._is_any_waiting = True
        """Whether there may be an event that was not acted on: nobody else stores any,
        or it is always looked."""

    async def receive(self, body: bytes, signature: str) -> bool:
        """Store a webhook; return ``False`` if it was here before.

        Whoever answers Stripe does so after this: from now on it is on disk.

        Raises:
            BadWebhook: it is not from Stripe, not from now, or no event.
        """
        secrets = self._secrets()
        if not secrets:
            raise BadWebhook("no webhook secret: see stripe.webhook_secret_file")
        # Stripe signs with real time; who rehearses another time may sign with that.
        clocks = {self._wall.now_ms() // 1000, self._clock.now_ms() // 1000}
        check_signature(body, signature, secrets, now_s=clocks)
        try:
            text = body.decode()
            head = msgspec.json.decode(text, type=EventHead)
        except (ValueError, RecursionError) as error:
            raise BadWebhook(f"no event: {error}") from error
        event = StripeEvent(head.id, head.type, text)
        async with self._database.transaction() as tx:
            is_new = await stripe_events.store(tx, event, now_ms=self._wall.now_ms())
        self._is_any_waiting = True
        return is_new

    async def process(self) -> None:
        """Act on every stored event; one that Stripe cannot tell now waits alone.

        Raises:
            MeterlineError: why one waits, when the others are done.
        """
        if not self._is_any_waiting and not self._database.others_write:
            return
        self._is_any_waiting = False
        try:
            async with self._database.reading() as tx:
                events = await stripe_events.waiting(tx, limit=EVENTS_PER_STEP)
        except BaseException:
            self._is_any_waiting = True
            raise
        self._is_any_waiting |= bool(events)  # one may have come meanwhile
        trouble: MeterlineError | None = None
        for event in events:
            try:
                if event.type in OF_INVOICES and self.books is not None:
                    await self._hear(event, self.books)
                    continue
                reason = await self._reason(event)
            except MeterlineError as error:
                trouble = error
                continue
            async with self._database.transaction() as tx:
                await self._act(tx, event, reason)
        if events:
            before_ms = self._wall.now_ms() - KEPT_MS
            async with self._database.transaction() as tx:
                await stripe_events.forget(tx, before_ms=before_ms)
        if trouble is not None:
            raise trouble

    async def _hear(self, event: StripeEvent, books: Books) -> None:
        """Let the books take the step that an event is about, once.

        Raises:
            MeterlineError: Stripe has to be asked more, and cannot be.
        """
        about: Mapping[str, Any] = {}
        stripe_id: object = None
        try:
            about, stripe_id, said = await self._said(event)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            said = f"of an unknown shape: {error}"
            log.warning("Stripe's event %s, %s, is %s", event.id, event.type, said)
        except StripeRefused as error:
            if error.status in NOT_ALLOWED:
                raise
            said = str(error)
            log.warning("Stripe's event %s, %s: %s", event.id, event.type, said)
        async with self._database.transaction() as tx:
            if isinstance(stripe_id, str):
                what = REFUNDED if event.type in OF_REFUNDS else event.type
                said = await books.heard(tx, what, stripe_id, about)
            await stripe_events.finish(
                tx, event.id, errors=0, found=0, reason=said[:REASON_CHARS_MAX]
            )

    async def _said(self, event: StripeEvent) -> tuple[Mapping[str, Any], object, str]:
        """Return what an event is about, the invoice, and words where there is none.

        Raises:
            DecodeError, ValidationError: it is not of a shape that is known.
            StripeRefused, MeterlineError: as ``Asking.read``.
        """
        told = msgspec.json.decode(event.body, type=SnapshotEvent)
        if told.account is not None:
            return {}, None, f"of the connected account {told.account}"
        if told.data is None:
            found = await self._payments.call("get", f"/v1/events/{event.id}")
            told = msgspec.convert(found, type=SnapshotEvent)
        about: Mapping[str, Any] = {} if told.data is None else told.data.object
        if event.type not in OF_CHARGES:
            return about, about.get("id"), "it names no invoice"
        stripe_id = await self._invoice_of(about)
        if isinstance(stripe_id, str) and event.type != DISPUTED:
            about = await self._charge_of(event.type, about)
        return about, stripe_id, "a charge of no invoice"

    async def _charge_of(
        self, kind: str, about: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return what was refunded of a charge by now: events come in any order.

        A key that may not read it takes a charge as the event has it, and waits with a
        refund, which says nothing of the others.
        """
        charge_id = about.get("charge" if kind in OF_REFUNDS else "id")
        try:
            return await charge_now(self._charges, str(charge_id))
        except StripeRefused:
            if kind in OF_REFUNDS:
                raise
            return about

    async def _invoice_of(self, charge: Mapping[str, Any]) -> object:
        """Return the invoice that a charge paid; newer charges do not name it."""
        intent = charge.get("payment_intent")
        if charge.get("invoice") is not None or not isinstance(intent, str):
            return charge.get("invoice")
        payment = {"type": "payment_intent", "payment_intent": intent}
        found = await self._payments.call(
            "get", "/v1/invoice_payments", {"payment": payment, "limit": 1}
        )
        listed: object = found.get("data")
        if not isinstance(listed, list):
            raise RetryLater("/v1/invoice_payments: the answer was no list", after_s=60)
        paid = cast("list[dict[str, Any]]", listed)
        return paid[0].get("invoice") if paid else None

    async def _reason(self, event: StripeEvent) -> DropReason | str:
        """Return why meter events were dropped, or in words why that is not known."""
        if event.type not in DROP_REPORTS:
            return f"not about meter events: {event.type}"
        try:
            report = msgspec.json.decode(event.body, type=DropReport)
            if report.data is None:
                # Webhooks of this kind are thin: the data is fetched.
                path = f"/v2/core/events/{event.id}"
                found = await self._reports.call("get", path)
                report = msgspec.convert(found, type=DropReport)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return f"of an unknown shape: {error}"
        except StripeRefused as error:
            if error.status in NOT_ALLOWED:
                raise
            return str(error)
        if report.data is None or report.data.reason is None:
            return "of an unknown shape: it says no reason"
        return report.data.reason

    async def _act(self, tx: Tx, event: StripeEvent, reason: DropReason | str) -> None:
        if isinstance(reason, str):
            # Something was dropped, and nobody can say what: a person must look.
            n_errors = int(event.type in DROP_REPORTS)
            await stripe_events.finish(
                tx, event.id, errors=n_errors, found=0, reason=reason
            )
            return
        found = 0
        for kind in reason.error_types:
            for sample in kind.sample_errors:
                found += await self._reject(tx, kind.code, sample)
        n_errors = max(
            reason.error_count, sum(t.error_count for t in reason.error_types)
        )
        codes = ", ".join(kind.code for kind in reason.error_types)
        dropped = n_of(n_errors, "meter event")
        log.error("Stripe dropped %s: %s", dropped, codes)
        await stripe_events.finish(
            tx, event.id, errors=n_errors, found=found, reason=codes
        )

    async def _reject(self, tx: Tx, code: str, sample: SampleError) -> int:
        """Take back one delivery; return the rows that it was about."""
        request = sample.request or SentRequest()
        key = request.identifier or request.idempotency_key or ""
        rows = await stripe_events.rows_of_key(tx, key, identifier_of(key))
        if not rows:
            # Some reports name the event itself and not its request.
            rows = await stripe_events.rows_of_key(tx, key, key)
        # A request of the stream holds many events, and which one is not said.
        state = "rejected" if len(rows) == 1 else "unresolved"
        for row in rows:
            await stripe_events.reject(
                tx,
                row.id,
                state=state,
                reason=f"{code}: {sample.error_message or 'no message'}"[:500],
                now_ms=self._clock.now_ms(),
            )
        return min(1, len(rows))
