"""The one door to Stripe: the official SDK, and what its answers mean."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

import stripe
from stripe.v2.billing import MeterEventSession

from meterline_sidecar.access.secret import Secret
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.errors import ConfigError, RetryLater
from meterline_sidecar.stripe.answers import (
    account_in,
    classify,
    fields_of,
    trouble_of,
)
from meterline_sidecar.stripe.calls import Accounts, Method
from meterline_sidecar.stripe.meter_events import (
    Busy,
    Delivered,
    MeterEvent,
    Outcome,
    Unauthorized,
    Unknown,
    Unreachable,
)
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.stripe.transport import Transport, not_sent

READ_ATTEMPTS: Final = 4
READ_BACKOFF: Final = Backoff(max_s=5.0)
CANNOT_SAY: Final = frozenset({400, 403, 404})
"""Answers to whose a key is that say that this one may not ask."""

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
        accounts: Accounts | None = None,
    ) -> None:
        """Take the key as a function: it is asked again after a refusal.

        Args:
            accounts: asked about each key before it is used; ``None``: any will do.
        """
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
        self._accounts = accounts
        self._asking = asyncio.Lock()
        self._owner: str | None = None
        self._admitted: set[bool] = set()
        """For what the current key may be used: to read, to tell."""
        self.hides_owner = False
        """Whether the key in use does not say whose it is."""

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
            self._session = None
            self._owner = None
            self._admitted = set()
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
            client = await self._admit(is_telling=True)
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
        session = None
        try:
            client = await self._admit(is_telling=True)
            session = await self._open_session(client)
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
                    "api_key": session.authentication_token,
                    "idempotency_key": key,
                },
            )
        except (ConfigError, stripe.StripeError) as error:
            if self._session is session:  # expired, maybe; not one that came since
                self._session = None
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
                client = await self._admit(is_telling=method != "get")
                request = _raw_request(client)
                answer = await request(method, path, **dict(params or {}), **options)
            except (ConfigError, stripe.StripeError) as error:
                outcome = self._classify(error, key or "")
                is_passing = isinstance(outcome, Unknown | Unreachable | Busy)
                if not is_passing or attempt == attempts:
                    raise trouble_of(path, error, outcome) from None
                await asyncio.sleep(self._read_backoff.wait_s(attempt))
            else:
                content: object = answer.data
                if isinstance(content, dict) and "object" in content:
                    return cast("dict[str, Any]", content)
                raise RetryLater(f"{path}: the answer was not Stripe's", after_s=60.0)
        raise AssertionError("the last attempt returns or raises")

    async def _admit(self, *, is_telling: bool) -> stripe.StripeClient:
        """Return the client of a key that may be used.

        Raises:
            ConfigError: there is no key, or it is of another account than the ledger's.
            StripeError: Stripe does not say whose it is now; nothing else was sent.
        """
        client = self._need_client()
        if self._accounts is None or is_telling in self._admitted:
            return client
        async with self._asking:
            client = self._need_client()
            if is_telling in self._admitted:
                return client
            if self._owner is None:
                owner = await self._ask_owner(client)
            else:
                owner = self._owner
            refusal = await self._accounts.refusal(
                is_live=bool(self.is_live), account=owner, is_telling=is_telling
            )
            if client is self._client:
                self._owner = owner
                if refusal is None:
                    self._admitted.add(is_telling)
                else:
                    self._client = None  # another key may be in its place the next time
            if refusal is not None:
                raise ConfigError(refusal)
        return client

    async def _ask_owner(self, client: stripe.StripeClient) -> str | None:
        """Return the account that a client's key is of; ``None``: it may not ask."""
        try:
            answer = await _raw_request(client)("get", "/v1/account")
        except stripe.StripeError as error:
            if error.http_status in CANNOT_SAY and fields_of(error):
                owner = account_in(error)
                self.hides_owner = owner is None
                return owner
            raise _unsent(error, self._hide) from None
        found: object = answer.data
        if isinstance(found, dict):
            named = cast("Mapping[str, object]", found).get("id")
            if isinstance(named, str):
                self.hides_owner = False
                return named
        raise not_sent("the answer about whose the key is was no account")

    async def _open_session(self, client: stripe.StripeClient) -> MeterEventSession:
        """Return a session of the stream; one for all who need it at once."""
        async with self._asking:
            if self._session is None:
                try:
                    session = await client.v2.billing.meter_event_session.create_async()
                except stripe.StripeError as error:
                    raise _unsent(error, self._hide) from None
                self._session = session
            return self._session

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


def _raw_request(client: stripe.StripeClient) -> RawRequest:
    return cast("RawRequest", client.raw_request_async)  # pyright: ignore[reportUnknownMemberType] - the SDK's


def _unsent(
    error: stripe.StripeError, hide: Callable[[str], str]
) -> stripe.StripeError:
    """Return what the failure of a question means for what was to be sent after it.

    Whatever became of the question, nothing of the other was sent.
    """
    outcome = classify(error, "", hide)
    if isinstance(outcome, Unknown):
        return not_sent(outcome.reason)
    return error


def _payload(event: MeterEvent) -> dict[str, str]:
    return {
        "stripe_customer_id": event.stripe_customer,
        "value": str(event.value),
    }


def _is_replay(headers: Mapping[str, str]) -> bool:
    return headers.get("Idempotent-Replayed", "").lower() == "true"
