"""What Stripe is told, and what it can answer."""

import hashlib
from base64 import b32encode
from collections.abc import Iterator
from typing import Final, Literal

from msgspec import Struct

from meterline_sidecar.clock import DAY_MS, HOUR_MS
from meterline_sidecar.decimals import Number
from meterline_sidecar.store.outbox import OutboxRow

DIGITS_MAX: Final = 15
"""Significant digits of a meter event's value.

Source: docs.stripe.com/changelog/dahlia/2026-04-22, read 2026-05-05.
"""
VALUE_MAX: Final = 10**DIGITS_MAX - 1
PARTS_MAX: Final = 20
"""Into so many events a change of an hour is split. What one number of a client says
is no reason to make more: beyond that a person has to look."""

RESEND_MS_MAX: Final = 23 * HOUR_MS
"""Stripe forgets an identifier after 24 hours at the earliest; one is our margin."""
AGE_MS_MAX: Final = 34 * DAY_MS
"""Stripe refuses usage older than 35 days; one is our margin."""
TOO_OLD: Final = "older than 34 days; Stripe takes no usage older than 35"


class MeterEvent(Struct, frozen=True):
    """One hour's usage, or a change of it, of one customer and meter."""

    event_name: str
    stripe_customer: str
    value: Number
    time_ms: int
    """The start of the hour; what Stripe bills by."""
    identifier: str
    """Stripe refuses a second event with it for at least 24 hours."""
    key: str
    """The Idempotency-Key; Stripe replays its first answer for about a day."""


class Delivered(Struct, frozen=True, tag="delivered"):
    """Stripe has the event and counts it once.

    What was ``streamed`` is checked later: a refusal comes by webhook.
    """

    request_id: str | None
    how: Literal["accepted", "replayed", "duplicate", "streamed"]


class Unknown(Struct, frozen=True, tag="unknown"):
    """Stripe may or may not have the event: send the same again."""

    reason: str
    needs_new_key: bool
    """Whether the answer may be saved under the key, and replayed for a day."""


class Unreachable(Struct, frozen=True, tag="unreachable"):
    """Nothing was sent: there was no connection to send it over."""

    reason: str


class Busy(Struct, frozen=True, tag="busy"):
    """Nothing was executed; Stripe wants fewer requests, or waits for a lock."""

    reason: str
    slows_down: bool
    """Whether the whole account is too fast, not only this customer and meter."""


class NoMeter(Struct, frozen=True, tag="no_meter"):
    """Nothing was counted: no active meter has this event name."""

    reason: str


class Rejected(Struct, frozen=True, tag="rejected"):
    """Nothing was counted, and the same event will never be."""

    reason: str
    is_too_old: bool = False
    """Whether its time is the reason."""


class Early(Struct, frozen=True, tag="early"):
    """Nothing was counted: by Stripe's clock its hour is still to come."""

    reason: str


class Mismatch(Struct, frozen=True, tag="mismatch"):
    """Stripe saw this key with other content: something was sent that we forgot."""

    reason: str


class Unauthorized(Struct, frozen=True, tag="unauthorized"):
    """Nothing was executed: the key, or the address, is not the right one."""

    reason: str


Outcome = (
    Delivered
    | Unknown
    | Unreachable
    | Busy
    | NoMeter
    | Rejected
    | Early
    | Mismatch
    | Unauthorized
)


def identifier(
    install: str, *, customer: str, event_name: str, hour_ms: int, part: int
) -> str:
    """Return the name under which Stripe knows one part of one hour.

    It is a function of what it names, so that a resend after any accident has the
    same one. 55 characters; Stripe takes 100.
    """
    text = "\x1f".join((install, customer, event_name, str(hour_ms), str(part)))
    digest = hashlib.sha256(text.encode()).digest()
    return "u1-" + b32encode(digest).decode().rstrip("=").lower()


def key_of(identifier: str, key_no: int) -> str:
    """Return the Idempotency-Key number ``key_no``, from 0, of a part."""
    return f"{identifier}-{key_no}"


def identifier_of(key: str) -> str:
    """Return the identifier inside an Idempotency-Key of ours."""
    return key.rpartition("-")[0]


def meter_event(row: OutboxRow) -> MeterEvent:
    """Return what to send for a row of the outbox."""
    assert row.stripe_customer is not None, "an unmapped row is parked"
    return MeterEvent(
        event_name=row.event_name,
        stripe_customer=row.stripe_customer,
        value=row.quantity,
        time_ms=row.hour_ms,
        identifier=row.identifier,
        key=key_of(row.identifier, row.key_no),
    )


def is_tellable(units: int, *, parts_max: int) -> bool:
    """Say whether Stripe can be told so many smallest units in so many events."""
    return abs(units) <= VALUE_MAX * parts_max


def split(value: int) -> Iterator[int]:
    """Yield numbers that Stripe takes, and that together are ``value`` smallest units.

    As many as it needs: ask ``is_tellable`` first.
    """
    while abs(value) > VALUE_MAX:
        part = VALUE_MAX if value > 0 else -VALUE_MAX
        yield part
        value -= part
    yield value
