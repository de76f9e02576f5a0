"""What the API answers about alerts."""

import msgspec

from meterline_sidecar.store.alerts import State


class ShownAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert, whether it still stands, and what became of telling it."""

    id: int
    rule: str
    kind: str
    customer: str
    percent: int | None
    message: str
    action: str
    """What to do about it."""
    since: str
    """The beginning of what it is about: of a limit the billing period, otherwise the
    day in UTC."""
    until: str | None
    """The end of that; ``null`` where the customer is not known any more."""
    is_open: bool
    """Whether that still goes on: then it can be acted on."""
    raised: str
    state: State
    attempts: int
    delivered: str | None
    next_attempt: str | None
    """When the webhook is told of it again; ``null`` where it is not."""
    error: str | None


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts, a page of them, the newest first."""

    alerts: list[ShownAlert]
    next_before: int | None
