"""The one door to Stripe: the official SDK, and what its answers mean."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import stripe
from stripe.v2.billing import MeterEventSession

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.errors import (
    AnsweredWithFailure,
    ConfigError,
    MeterlineError,
    RetryLater,
    StripeRefused,
)
from meterline_sidecar.stripe.calls import Method
from meterline_sidecar.stripe.meter_events import (
    Busy,
    Delivered,
    MeterEvent,
    Mismatch,
    NoMeter,
    Outcome,
    Rejected,
    Unauthorized,
    Unknown,
    Unreachable,
)
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.stripe.transport import NotSent, Transport

SESSION_EXPIRED: Final = frozenset(
    {"temporary_session_expired", "billing_meter_event_session_expired"}
)
READ_ATTEMPTS: Final = 4
READ_BACKOFF: Final = Backoff(max_s=5.0)
ACCOUNT_LIMITS: Final = frozenset(
    {"global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency"}
)
"""Reasons of a 429 that concern the whole account, not one object.

Source: docs.stripe.com/rate-limits, read 2026-05-05.
"""

RawRequest = Callable[..., Awaitable[Any]]

# The SDK's own log repeats what servers say, which may repeat the key; and its
# telemetry writes an id into the home directory.
logging.getLogger("stripe").setLevel(logging.CRITICAL)
stripe.enable_telemetry = False


class StripeApi:
    """One Stripe account, as the rest of the sidecar sees it."""

    def __init__(
        self,
        key: Callable[[], Secret | None],
        *,
        api_base: str | None = None,
        meter_events_base: str | None = None,
        read_backoff: Backoff = READ_BACKOFF,
    ) -> None:
        """Take the key as a function: it is asked again after a refusal."""
        self._read_key = key
        self._key: Secret | None = None
        self._transport = Transport()
        self._read_backoff = read_backoff
        self._bases: dict[str, str] = {}
        if api_base is not None:
            self._bases["api"] = api_base.rstrip("/")
        if meter_events_base is not None:
            self._bases["meter_events"] = meter_events_base.rstrip("/")
        self._client: stripe.StripeClient | None = None
        self._session: MeterEventSession | None = None

    def __repr__(self) -> str:
        return f"StripeApi({self._bases.get('api', 'api.stripe.com')})"

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close_async()

    @property
    def is_live(self) -> bool | None:
        """Whether the key is of live mode; ``None`` while there is no key."""
        with contextlib.suppress(ConfigError):
            self._open()
        return None if self._key is None else "_live_" in self._key.reveal()[:9]

    @property
    def clock_ahead_s(self) -> int:
        """How far this machine's clock is ahead of Stripe's; 0 before any answer."""
        if self._transport.heard is None:
            return 0
        date, heard_ms = self._transport.heard
        try:
            stripe_s = parsedate_to_datetime(date).timestamp()
        except ValueError:
            return 0
        return round(heard_ms / 1000 - stripe_s)

    def _open(self) -> stripe.StripeClient | None:
        """Return the client of the current key, ``None`` where there is no key.

        Raises:
            ConfigError: the key's file cannot be read.
        """
        if self._client is None:
            self._key = self._read_key()
            if self._key is not None:
                self._client = stripe.StripeClient(
                    self._key.reveal(),
                    base_addresses=self._bases,  # type: ignore[arg-type] # its keys
                    http_client=self._transport,
                    # Ours are written down before they happen; the SDK's are not.
                    max_network_retries=0,
                )
        return self._client

    async def send(self, event: MeterEvent) -> Outcome:
        """Send one event, once, and say what is known about it then."""
        try:
            client = self._need_client()
            sent = await client.v1.billing.meter_events.create_async(
                {
                    "event_name": event.event_name,
                    "payload": _payload(event),
                    "identifier": event.identifier,
                    "timestamp": event.time_ms // 1000,
                },
                {"idempotency_key": event.key},
            )
        except (ConfigError, stripe.StripeError) as error:
            return self._classify(error, event.identifier)
        kind: object = getattr(sent, "object", None)
        identifier: object = getattr(sent, "identifier", None)
        if kind != "billing.meter_event" or identifier != event.identifier:
            return Unknown("the answer was no meter event of ours", needs_new_key=True)
        answer = sent.last_response
        headers: Mapping[str, str] = {} if answer is None else answer.headers
        return Delivered(
            headers.get("Request-Id"), "replayed" if _is_replay(headers) else "accepted"
        )

    async def stream(self, events: Sequence[MeterEvent], *, key: str) -> Outcome:
        """Send up to 100 events at once, to be checked by Stripe later."""
        try:
            client = self._need_client()
            if self._session is None:
                self._session = (
                    await client.v2.billing.meter_event_session.create_async()
                )
            await client.v2.billing.meter_event_stream.create_async(
                {
                    "events": [
                        {
                            "event_name": event.event_name,
                            "payload": _payload(event),
                            "identifier": event.identifier,
                            "timestamp": format_time_ms(event.time_ms),
                        }
                        for event in events
                    ]
                },
                {
                    "api_key": self._session.authentication_token,
                    "idempotency_key": key,
                },
            )
        except (ConfigError, stripe.StripeError) as error:
            self._session = None  # expired, maybe
            return self._classify(error, key)
        return Delivered(None, "streamed")

    async def call(
        self,
        method: Method,
        path: str,
        params: Mapping[str, object] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Return the answer of any address of the API; GETs are tried a few times.

        Args:
            key: the Idempotency-Key of a POST.

        Raises:
            StripeRefused: Stripe said no, in words that hold no secret.
            RetryLater: it may say yes later.
        """
        attempts = READ_ATTEMPTS if method == "get" else 1
        options = {} if key is None else {"idempotency_key": key}
        for attempt in range(1, attempts + 1):
            try:
                client = self._need_client()
                request = cast("RawRequest", client.raw_request_async)  # pyright: ignore[reportUnknownMemberType] - the SDK's
                answer = await request(method, path, **dict(params or {}), **options)
            except (ConfigError, stripe.StripeError) as error:
                outcome = self._classify(error, key or "")
                is_passing = isinstance(outcome, Unknown | Unreachable | Busy)
                if not is_passing or attempt == attempts:
                    raise _trouble(path, error, outcome) from None
                await asyncio.sleep(self._read_backoff.wait_s(attempt))
            else:
                content: object = answer.data
                if isinstance(content, dict) and "object" in content:
                    return cast("dict[str, Any]", content)
                raise RetryLater(f"{path}: the answer was not Stripe's", after_s=60.0)
        raise AssertionError("the last attempt returns or raises")

    def _need_client(self) -> stripe.StripeClient:
        client = self._open()
        if client is None:
            raise ConfigError(
                "no Stripe key: name its file in stripe.api_key_file, or set"
                " METERLINE_STRIPE_API_KEY"
            )
        return client

    def _classify(
        self, error: ConfigError | stripe.StripeError, identifier: str
    ) -> Outcome:
        if isinstance(error, ConfigError):
            return Unauthorized(str(error))
        outcome = classify(error, identifier, self._hide)
        if isinstance(outcome, Unauthorized):
            self._client = None  # so that a new key is read for the next one
        return outcome

    def _hide(self, text: str) -> str:
        return text if self._key is None else self._key.hide_in(text)


def _trouble(
    path: str, error: ConfigError | stripe.StripeError, outcome: Outcome
) -> MeterlineError:
    assert not isinstance(outcome, Delivered), "an error is no delivery"
    if isinstance(error, ConfigError):
        return error
    is_saved = isinstance(outcome, Unknown) and outcome.needs_new_key and _fields(error)
    if is_saved or isinstance(outcome, Mismatch):
        # Of a mismatch, too, nobody knows what was done under the key.
        return AnsweredWithFailure(f"{path}: {outcome.reason}", after_s=60.0)
    if isinstance(outcome, Unknown | Unreachable | Busy):
        return RetryLater(f"{path}: {outcome.reason}", after_s=60.0)
    code = _fields(error).get("code")
    return StripeRefused(
        f"{path}: {outcome.reason}",
        status=error.http_status or 0,
        code=code if isinstance(code, str) else None,
    )


def _payload(event: MeterEvent) -> dict[str, str]:
    return {
        "stripe_customer_id": event.stripe_customer,
        "value": str(event.value),
    }


def _is_replay(headers: Mapping[str, str]) -> bool:
    return headers.get("Idempotent-Replayed", "").lower() == "true"


def classify(
    error: stripe.StripeError, identifier: str, hide: Callable[[str], str]
) -> Outcome:
    """Return what an error of the SDK says about the event with ``identifier``.

    What is not certainly a refusal by Stripe itself is ``Unknown``: a proxy's page,
    a cut answer, any 5xx.

    Args:
        hide: takes secrets out of a text.
    """
    if isinstance(error, NotSent):
        return Unreachable(hide(str(error)))
    status = error.http_status
    headers: Mapping[str, str] = error.headers or {}
    fields = _fields(error)
    message = str(fields.get("message") or "").strip()
    reason = hide(f"HTTP {status}: {message}" if message else f"HTTP {status}")
    if status is None:
        return Unknown(hide(str(error)), needs_new_key=False)
    if not fields:
        # Not Stripe's words, whoever said it; the request may have been executed.
        return Unknown(f"{reason}, and no answer of Stripe's", needs_new_key=True)
    if status >= 500 or status < 400:
        return Unknown(reason, needs_new_key=True)
    if status == 429 or fields.get("code") == "rate_limit":
        why = headers.get("Stripe-Rate-Limited-Reason")
        is_lock = fields.get("code") == "lock_timeout"
        slows_down = why in ACCOUNT_LIMITS or (why is None and not is_lock)
        return Busy(f"{reason} ({why})" if why else reason, slows_down)
    is_expired = SESSION_EXPIRED & {fields.get("type"), fields.get("code")}
    if is_expired or status == 409 or headers.get("Stripe-Should-Retry") == "true":
        return Busy(reason, slows_down=False)
    is_wrong_address = status == 404 and fields.get("code") != "resource_missing"
    if status in (401, 403) or is_wrong_address:
        return Unauthorized(reason)
    return _refusal(fields, message, reason, identifier)


def _refusal(
    fields: Mapping[str, object], message: str, reason: str, identifier: str
) -> Outcome:
    """Return what a 4xx in Stripe's own words says about an event."""
    code = fields.get("code")
    exists = rf"already exists with identifier {re.escape(identifier)}(?![\w-])"
    if code == "duplicate_meter_event" or re.search(exists, message):
        return Delivered(None, "duplicate")
    if "idempotency_error" in (fields.get("type"), code):
        return Mismatch(reason)
    # Each in the words of v1, which has no codes here, and in the codes of v2.
    is_unknown = code in ("no_meter", "archived_meter") or (
        re.search("no active meter found", message, re.IGNORECASE)
    )
    return NoMeter(reason) if is_unknown else Rejected(reason)


def _fields(error: stripe.StripeError) -> Mapping[str, object]:
    """Return the ``error`` object of Stripe's answer, empty if it was none."""
    body: object = error.json_body
    if not isinstance(body, dict):
        return {}
    fields = cast("dict[str, object]", body).get("error")
    return cast("dict[str, object]", fields) if isinstance(fields, dict) else {}
