"""The error bodies that Stripe really sends, word for word where they are known."""

import json

from tests.stripe_server.http import Response


class StripeRefusal(Exception):
    """An error answer; ``is_saved`` says whether its key will replay it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        is_saved: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.is_saved = is_saved
        self.headers = headers or {}
        self.error: dict[str, object] = {"message": message, "type": kind}
        if code is not None:
            self.error["code"] = code
        if param is not None:
            self.error["param"] = param

    def response(self) -> Response:
        """Return the answer that carries this error."""
        return answer(self.status, {"error": self.error}, self.headers)


def answer(
    status: int, content: object, headers: dict[str, str] | None = None
) -> Response:
    """Return a JSON answer."""
    return Response(
        status,
        json.dumps(content).encode(),
        {"Content-Type": "application/json", **(headers or {})},
    )


def no_key() -> StripeRefusal:
    return StripeRefusal(
        401,
        "You did not provide an API key. You need to provide your API key in the "
        "Authorization header, using Bearer auth (e.g. 'Authorization: Bearer "
        "YOUR_SECRET_KEY').",
    )


def bad_key(key: str) -> StripeRefusal:
    return StripeRefusal(401, f"Invalid API Key provided: {key}")


def forbidden(key: str) -> StripeRefusal:
    return StripeRefusal(
        403,
        f"The provided key '{key}' does not have the required permissions for this "
        "endpoint. Having the 'rak_billing_meter_event_write' permission would allow "
        "this request to continue.",
    )


def may_not_read_account(key: str, account: str) -> StripeRefusal:
    return StripeRefusal(
        403,
        f"The provided key '{key}' does not have the required permissions for this "
        f"endpoint on account '{account}'. Having the "
        "'rak_accounts_kyc_id_numbers_read' permission would allow this request to "
        "continue.",
    )


def rate_limit(reason: str | None) -> StripeRefusal:
    headers = {} if reason is None else {"Stripe-Rate-Limited-Reason": reason}
    return StripeRefusal(
        429,
        "Request rate limit exceeded. Learn more about rate limits here "
        "https://stripe.com/docs/rate-limits.",
        code="rate_limit",
        headers=headers,
    )


def lock_timeout() -> StripeRefusal:
    return StripeRefusal(
        429,
        "This object cannot be accessed right now because another API request or "
        "Stripe process is currently accessing it.",
        code="lock_timeout",
    )


def refused() -> StripeRefusal:
    return StripeRefusal(400, "Something is wrong with this.")


def key_in_use(key: str) -> StripeRefusal:
    return StripeRefusal(
        409,
        "There is currently another in-progress request using this Idempotent Key "
        "(that probably means you submitted twice, and the other request is still "
        f"going through): {key}. Please try again later.",
        kind="idempotency_error",
        code="idempotency_key_in_use",
        headers={"Stripe-Should-Retry": "true"},
    )


def key_mismatch(key: str) -> StripeRefusal:
    return StripeRefusal(
        400,
        "Keys for idempotent requests can only be used with the same parameters they "
        f"were first used with. Try using a key other than '{key}' if you meant to "
        "execute a different request.",
        kind="idempotency_error",
    )


def too_many_concurrent() -> StripeRefusal:
    return StripeRefusal(
        409,
        "Cannot create multiple usage events for the same customer, meter "
        "concurrently.",
        code="too_many_concurrent_requests",
    )


def duplicate(identifier: str) -> StripeRefusal:
    return StripeRefusal(
        400,
        f"An event already exists with identifier {identifier}.",
        headers={"Stripe-Should-Retry": "false"},
        is_saved=True,
    )


def no_meter(event_name: str) -> StripeRefusal:
    return StripeRefusal(
        400, f'No active meter found for event name "{event_name}".', is_saved=True
    )


def too_old(oldest_s: int) -> StripeRefusal:
    return StripeRefusal(
        400,
        "The event timestamp cannot be more than 35 days in past. Expected a "
        f"timestamp greater than or equal to {oldest_s}.",
        param="timestamp",
    )


def in_future() -> StripeRefusal:
    return StripeRefusal(
        400,
        "The event timestamp cannot be more than 5 minutes in the future.",
        param="timestamp",
    )


def bad_value(value: str) -> StripeRefusal:
    return StripeRefusal(
        400,
        f"Invalid value in the event payload: {value}.",
        param="payload[value]",
    )


def too_many_digits(value: str) -> StripeRefusal:
    return StripeRefusal(
        400,
        f"The value in the event payload can have at most 15 digits. Received {value}.",
        param="payload[value]",
    )


def missing(param: str) -> StripeRefusal:
    return StripeRefusal(
        400,
        f"Missing required param: {param}.",
        code="parameter_missing",
        param=param,
    )


def unknown_param(param: str) -> StripeRefusal:
    return StripeRefusal(
        400,
        f"Received unknown parameter: {param}",
        code="parameter_unknown",
        param=param,
    )


def missing_resource(kind: str, name: str, *, param: str = "id") -> StripeRefusal:
    """An address that is not there, or a parameter that names what is not."""
    return StripeRefusal(
        404 if param == "id" else 400,
        f"No such {kind}: '{name}'",
        code="resource_missing",
        param=param,
    )


def internal() -> StripeRefusal:
    return StripeRefusal(
        500,
        "An unknown error occurred",
        kind="api_error",
        headers={"Stripe-Should-Retry": "false"},
        is_saved=True,
    )


def html_502() -> Response:
    return Response(
        502,
        b"<html><head><title>502 Bad Gateway</title></head>"
        b"<body><center><h1>502 Bad Gateway</h1></center></body></html>",
        {"Content-Type": "text/html"},
    )
