"""What one Stripe account knows: meters, meter events, keys; and the exact totals."""

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tests.stripe_server import errors
from tests.stripe_server.http import Response

DAY_S: Final = 86_400
HOUR_S: Final = 3_600
PAST_S_MAX: Final = 35 * DAY_S
FUTURE_S_MAX: Final = 300
DIGITS_MAX: Final = 15


@dataclass(slots=True)
class Meter:
    """A Billing Meter."""

    id: str
    event_name: str
    display_name: str
    formula: str = "sum"
    window: str | None = None
    customer_key: str = "stripe_customer_id"
    value_key: str = "value"
    status: str = "active"
    created: int = 0

    def content(self) -> dict[str, object]:
        """Return the object as Stripe shows it."""
        return {
            "id": self.id,
            "object": "billing.meter",
            "created": self.created,
            "customer_mapping": {
                "event_payload_key": self.customer_key,
                "type": "by_id",
            },
            "default_aggregation": {"formula": self.formula},
            "display_name": self.display_name,
            "event_name": self.event_name,
            "event_time_window": self.window,
            "livemode": False,
            "status": self.status,
            "status_transitions": {"deactivated_at": None},
            "updated": self.created,
            "value_settings": {"event_payload_key": self.value_key},
        }


@dataclass(frozen=True, slots=True)
class Event:
    """A meter event that counts."""

    event_name: str
    customer: str
    value: Decimal
    timestamp_s: int
    identifier: str
    key: str
    received_s: float


@dataclass(slots=True)
class SavedAnswer:
    """What an idempotency key replays."""

    request: tuple[str, bytes]
    at_s: float
    response: Response | None = None
    """``None`` while the first request is still being executed."""


def _count_digits(value: str) -> int:
    return len(value.lstrip("-").replace(".", "").lstrip("0")) or 1


def _check_number(value: str) -> Decimal:
    digits = value.removeprefix("-")
    whole, _, fraction = digits.partition(".")
    is_plain = whole.isdecimal() and (fraction.isdecimal() or "." not in digits)
    if not (value.isascii() and is_plain):
        raise errors.bad_value(value)
    if _count_digits(value) > DIGITS_MAX:
        raise errors.too_many_digits(value)
    return Decimal(value)


@dataclass(slots=True)
class Account:
    """One Stripe account, strict about every rule that is known."""

    now_s: Callable[[], float] = time.time
    meters: dict[str, Meter] = field(default_factory=dict[str, Meter])
    events: list[Event] = field(default_factory=list[Event])
    customers: set[str] | None = None
    """The customers that exist; ``None``: every one."""
    subscriptions: list[tuple[str, str]] | None = None
    """Customers, and the id of the meter that their subscription has a price of;
    ``None``: the key may not read them."""
    lag_s: float = 0.0
    """How long ago an event was received when summaries begin to show it."""
    reports: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    """Asynchronous errors, in order: code, identifier, key, event name."""
    identifiers: dict[str, float] = field(default_factory=dict[str, float])
    keys: dict[str, SavedAnswer] = field(default_factory=dict[str, SavedAnswer])
    _series: defaultdict[tuple[str, str], list[Event]] = field(
        default_factory=lambda: defaultdict[tuple[str, str], list[Event]](list)
    )
    _n_ids: int = 0

    def new_id(self, prefix: str) -> str:
        """Return an id that no object of this account has."""
        self._n_ids += 1
        return f"{prefix}_{self._n_ids:08d}"

    def add_meter(
        self, event_name: str, *, formula: str = "sum", window: str | None = None
    ) -> Meter:
        """Add an active meter, as the dashboard would."""
        meter = Meter(
            self.new_id("mtr"),
            event_name,
            event_name,
            formula,
            window,
            created=int(self.now_s()),
        )
        self.meters[meter.id] = meter
        return meter

    def active_meter(self, event_name: str) -> Meter | None:
        """Return the active meter of ``event_name``."""
        for meter in self.meters.values():
            if meter.event_name == event_name and meter.status == "active":
                return meter
        return None

    def check_event(
        self, event_name: str, payload: dict[str, str], timestamp_s: int
    ) -> tuple[Meter, str, Decimal]:
        """Return meter, customer and value of a meter event.

        Raises:
            StripeRefusal: it breaks a rule that Stripe checks at once.
        """
        meter = self.active_meter(event_name)
        if meter is None:
            raise errors.no_meter(event_name)
        customer = payload.get(meter.customer_key)
        if not customer:
            raise errors.missing(f"payload[{meter.customer_key}]")
        if meter.value_key not in payload:
            raise errors.missing(f"payload[{meter.value_key}]")
        value = _check_number(payload[meter.value_key])
        oldest_s = int(self.now_s()) - PAST_S_MAX
        if timestamp_s < oldest_s:
            raise errors.too_old(oldest_s)
        if timestamp_s > self.now_s() + FUTURE_S_MAX:
            raise errors.in_future()
        return meter, customer, value

    def knows(self, identifier: str) -> bool:
        """Return whether ``identifier`` was used in the last 24 hours."""
        at_s = self.identifiers.get(identifier)
        return at_s is not None and self.now_s() - at_s < DAY_S

    def accept(self, event: Event) -> None:
        """Count ``event``, or report why not, as the asynchronous part does."""
        self.identifiers[event.identifier] = event.received_s
        if self.customers is not None and event.customer not in self.customers:
            self.report("meter_event_customer_not_found", event)
        else:
            self.events.append(event)
            self._series[event.event_name, event.customer].append(event)

    def forget_events(self) -> None:
        """Drop every event and key, for tests that count our own memory."""
        self.events.clear()
        self._series.clear()
        self.identifiers.clear()
        self.keys.clear()

    def report(self, code: str, event: Event) -> None:
        """Note an asynchronous error about ``event``."""
        self.reports.append(
            {
                "code": code,
                "event_name": event.event_name,
                "identifier": event.identifier,
                "key": event.key,
            }
        )

    def shown_hours(self, event_name: str, customer: str) -> dict[int, Decimal]:
        """Return what summaries show of ``hours`` by now."""
        return self.hours(event_name, customer, until_s=self.now_s() - self.lag_s)

    def hours(
        self, event_name: str, customer: str, *, until_s: float | None = None
    ) -> dict[int, Decimal]:
        """Return what counts, by the start of the UTC hour in seconds.

        Args:
            until_s: leave out what was received later; ``None``: nothing.

        A meter with a window counts the event that it received last in the window.
        """
        meter = next(m for m in self.meters.values() if m.event_name == event_name)
        overwrites = meter.window is not None or meter.formula == "last"
        span_s = DAY_S if meter.window == "day" else HOUR_S
        hours: dict[int, Decimal] = defaultdict(Decimal)
        for event in self._series[event_name, customer]:
            if until_s is not None and event.received_s > until_s:
                continue
            start_s = event.timestamp_s - event.timestamp_s % span_s
            if meter.formula == "count":
                hours[start_s] += 1
            elif overwrites:
                hours[start_s] = event.value
            else:
                hours[start_s] += event.value
        return dict(hours)

    def total(
        self,
        event_name: str,
        customer: str,
        *,
        start_s: int = 0,
        end_s: int = 2**62,
    ) -> Decimal:
        """Return what the meter says about ``customer`` in ``[start_s, end_s)``."""
        meter = next(m for m in self.meters.values() if m.event_name == event_name)
        hours = self.hours(event_name, customer)
        inside = [hours[s] for s in sorted(hours) if start_s <= s < end_s]
        if meter.formula == "last":
            return inside[-1] if inside else Decimal(0)
        return sum(inside, Decimal(0))

    def totals(self) -> dict[str, dict[str, str]]:
        """Return event name to customer to total, as plain text."""
        pairs = sorted(self._series)
        found: dict[str, dict[str, str]] = {}
        for event_name, customer in pairs:
            total = self.total(event_name, customer)
            found.setdefault(event_name, {})[customer] = format(total, "f")
        return found
