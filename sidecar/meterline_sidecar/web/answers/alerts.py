"""What the API answers about alerts."""

import msgspec

from meterline_sidecar.store.alerts import State


class ShownAlert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert and what became of telling it."""

    id: int
    rule: str
    kind: str
    customer: str
    percent: int | None
    message: str
    raised: str
    state: State
    attempts: int
    error: str | None


class AlertPage(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts, a page of them."""

    alerts: list[ShownAlert]
    next_before: int | None
