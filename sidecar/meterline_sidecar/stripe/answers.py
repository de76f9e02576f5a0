"""What an answer of Stripe's means: whether anything was done, and what may be done now."""

import re
from collections.abc import Callable, Mapping
from typing import Final, cast

import stripe

from meterline_sidecar.errors import (
    AnsweredWithFailure,
    ConfigError,
    MeterlineError,
    RetryLater,
    StripeRefused,
)
from meterline_sidecar.stripe.meter_events import (
    Busy,
    Delivered,
    Early,
    Mismatch,
    NoMeter,
    Outcome,
    Rejected,
    Unauthorized,
    Unknown,
    Unreachable,
)
from meterline_sidecar.stripe.transport import NotSent

SESSION_EXPIRED: Final = frozenset(
    {"temporary_session_expired", "billing_meter_event_session_expired"}
)
ACCOUNT_LIMITS: Final = frozenset(
    {"global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency"}
)
"""Reasons of a 429 that concern the whole account, not one object.

Source: docs.stripe.com/rate-limits, read 2026-05-05.
"""


def trouble_of(
    path: str, error: ConfigError | stripe.StripeError, outcome: Outcome
) -> MeterlineError:
    """Return what to raise for a call that failed, by what its failure means."""
    assert not isinstance(outcome, Delivered), "an error is no delivery"
    if isinstance(error, ConfigError):
        return error
    is_saved = (
        isinstance(outcome, Unknown) and outcome.needs_new_key and fields_of(error)
    )
    if is_saved or isinstance(outcome, Mismatch):
        # Of a mismatch, too, nobody knows what was done under the key.
        return AnsweredWithFailure(f"{path}: {outcome.reason}", after_s=60.0)
    if isinstance(outcome, Unknown | Unreachable | Busy):
        return RetryLater(f"{path}: {outcome.reason}", after_s=60.0)
    code = fields_of(error).get("code")
    return StripeRefused(
        f"{path}: {outcome.reason}",
        status=error.http_status or 0,
        code=code if isinstance(code, str) else None,
    )


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
    fields = fields_of(error)
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
    if code == "timestamp_in_future" or re.search(r"\bin the future\b", message):
        return Early(reason)
    is_unknown = code in ("no_meter", "archived_meter") or (
        re.search("no active meter found", message, re.IGNORECASE)
    )
    if is_unknown:
        return NoMeter(reason)
    is_too_old = code == "timestamp_too_far_in_past" or "days in past" in message
    return Rejected(reason, is_too_old)


def account_in(error: stripe.StripeError) -> str | None:
    """Return the account that a refusal names, as those of a restricted key do.

    Source: github.com/stripe/stripe-node/issues/2246, read 2026-11-28: "... for this
    endpoint on account 'acct_...'".
    """
    named = re.search(r"\bacct_\w+", str(fields_of(error).get("message")))
    return named and named[0]


def fields_of(error: stripe.StripeError) -> Mapping[str, object]:
    """Return the ``error`` object of Stripe's answer, empty if it was none."""
    body: object = error.json_body
    if not isinstance(body, dict):
        return {}
    fields = cast("dict[str, object]", body).get("error")
    return cast("dict[str, object]", fields) if isinstance(fields, dict) else {}
