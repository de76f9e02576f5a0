"""The v2 side: the stream of meter events, and events that webhooks point to."""

import hashlib
import hmac
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from tests.stripe_server.account import Account, Event
from tests.stripe_server.errors import StripeRefusal, answer
from tests.stripe_server.http import Request, Response

SESSION_S: Final = 15 * 60
STREAM_EVENTS_MAX: Final = 100


def sign(body: bytes, secret: str, *, at_s: int) -> str:
    """Return the ``Stripe-Signature`` header of a webhook."""
    text = f"{at_s}.".encode() + body
    digest = hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={digest}"


def _time(at_s: float) -> str:
    moment = datetime.fromtimestamp(at_s, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Streams:
    """Sessions of the stream, and events with their data."""

    account: Account
    tokens: dict[str, float] = field(default_factory=dict[str, float])
    """Session token to the time it expires."""
    events: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    requests: int = 0
    """Requests to the stream."""
    session_faults: list[int] = field(default_factory=list[int])
    """The statuses that the next sessions are refused with."""
    sessions: int = 0
    """Sessions that were opened."""
    _reported: int = 0

    def open_session(self) -> Response:
        """Answer a new session."""
        if self.session_faults:
            raise StripeRefusal(self.session_faults.pop(0), "Try again later")
        self.sessions += 1
        now_s = self.account.now_s()
        session_id = self.account.new_id("mes")
        token = f"token_{session_id}"
        self.tokens[token] = now_s + SESSION_S
        return answer(
            200,
            {
                "id": session_id,
                "object": "v2.billing.meter_event_session",
                "authentication_token": token,
                "created": _time(now_s),
                "expires_at": _time(now_s + SESSION_S),
                "livemode": True,
            },
        )

    def accept(self, request: Request, token: str) -> Response:
        """Take events of a stream; nothing about them is said here."""
        expires_s = self.tokens.get(token)
        if expires_s is None or self.account.now_s() >= expires_s:
            raise StripeRefusal(
                401,
                "The temporary session token has expired.",
                kind="temporary_session_expired",
                code="billing_meter_event_session_expired",
            )
        events: list[dict[str, Any]] = json.loads(request.body)["events"]
        if not 1 <= len(events) <= STREAM_EVENTS_MAX:
            raise StripeRefusal(400, "Between 1 and 100 events are allowed.")
        self.requests += 1
        key = request.headers.get("idempotency-key", "")
        for content in events:
            self._accept_one(content, key)
        return answer(200, {})

    def _accept_one(self, content: dict[str, Any], key: str) -> None:
        identifier = content["identifier"]
        if self.account.knows(identifier):
            return
        moment = datetime.fromisoformat(content["timestamp"])
        payload = content["payload"]
        try:
            meter, customer, value = self.account.check_event(
                content["event_name"], payload, int(moment.timestamp())
            )
        except StripeRefusal as refusal:
            self.account.reports.append(
                {
                    "code": "meter_event_invalid_value",
                    "event_name": content["event_name"],
                    "identifier": identifier,
                    "key": key,
                    "message": str(refusal),
                }
            )
            return
        self.account.accept(
            Event(
                meter.event_name,
                customer,
                value,
                int(moment.timestamp()),
                identifier,
                key,
                self.account.now_s(),
            )
        )

    def notify(self, *, has_old_shape: bool = False) -> list[bytes]:
        """Return the webhook bodies about what was rejected since the last call.

        Thin: the data is fetched by id. One event for each code.
        """
        new, self._reported = (
            self.account.reports[self._reported :],
            len(self.account.reports),
        )
        bodies: list[bytes] = []
        for code in sorted({str(report["code"]) for report in new}):
            same = [report for report in new if report["code"] == code]
            bodies.append(self._notification(code, same, has_old_shape))
        return bodies

    def _notification(
        self, code: str, reports: list[dict[str, object]], has_old_shape: bool
    ) -> bytes:
        is_meterless = code == "no_meter"
        kind = "no_meter_found" if is_meterless else "error_report_triggered"
        name = "idempotency_key" if has_old_shape else "identifier"
        event: dict[str, Any] = {
            "id": self.account.new_id("evt"),
            "object": "v2.core.event",
            "type": f"v1.billing.meter.{kind}",
            "created": _time(self.account.now_s()),
            "livemode": False,
        }
        if not is_meterless:
            meter = self.account.active_meter(str(reports[0]["event_name"]))
            meter_id = "mtr_gone" if meter is None else meter.id
            event["related_object"] = {
                "id": meter_id,
                "type": "billing.meter",
                "url": f"/v1/billing/meters/{meter_id}",
            }
        samples = [
            {
                "error_message": f"There was an error: {code}",
                "request": {"id": "req_x", name: report["key"]}
                if has_old_shape
                else {name: report["key"]},
            }
            for report in reports[:5]
        ]
        self.events[event["id"]] = {
            **event,
            "data": {
                "developer_message_summary": f"There is {len(reports)} invalid event",
                "reason": {
                    "error_count": len(reports),
                    "error_types": [
                        {
                            "code": code,
                            "error_count": len(reports),
                            "sample_errors": samples,
                        }
                    ],
                },
                "validation_start": _time(self.account.now_s() - 10),
                "validation_end": _time(self.account.now_s()),
            },
        }
        return json.dumps(event).encode()

    def event(self, event_id: str) -> Response:
        """Answer an event with its data."""
        if event_id not in self.events:
            raise StripeRefusal(404, f"No such event: '{event_id}'", code="not_found")
        return answer(200, self.events[event_id])
