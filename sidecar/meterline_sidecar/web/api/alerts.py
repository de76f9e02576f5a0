"""Alerts: what was raised, what still stands, and whether somebody was told."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_pricing import PricingError
from meterline_sidecar.clock import DAY_MS, format_time_ms, time_text
from meterline_sidecar.store import alerts as store
from meterline_sidecar.store.alerts import AlertRow
from meterline_sidecar.terms.calendar import CustomerCalendar
from meterline_sidecar.web.answers.alerts import AlertPage, ShownAlert
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX, PAGE, CustomerId, Limit

LOOKED_AT: Final = 1_000
"""Alerts that one request looks through for those that are wanted; there can be more."""
TO_DO: Final = {
    "limit": "`meterline invoice {customer}` shows the amount, and"
    " `meterline explain {customer}` how it came about",
    "jump": "`meterline events --customer {customer}` shows the events: ask them, or"
    " look for a key that others use",
    "silence": "ask whether they stopped, or look at what records their usage:"
    " `meterline top` shows which workers send anything",
}
"""What to do about an alert, by its kind."""


class AlertsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts, the newest first."""

    customer: CustomerId | None = None
    is_open: Annotated[
        bool,
        Meta(
            description="Only those that still stand: a limit until the end of its"
            " billing period, all others until the end of their day in UTC. A page can"
            " be short, or empty, and another follow."
        ),
    ] = False
    before: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_before` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


async def list_alerts(parts: Parts, query: AlertsQuery) -> AlertPage:
    """List the alerts that were raised, the newest first."""
    is_all = query.customer is None and not query.is_open
    looked_at = query.limit if is_all else LOOKED_AT
    async with parts.database.reading() as tx:
        rows = await store.newest(tx, before=query.before, limit=looked_at)
    found: list[ShownAlert] = []
    next_before = rows[-1].id if len(rows) == looked_at else None
    for row in rows:
        if query.customer not in (None, row.customer):
            continue
        shown = _shown(parts, row)
        if shown.is_open or not query.is_open:
            found.append(shown)
        if len(found) == query.limit and row is not rows[-1]:
            next_before = row.id
            break
    return AlertPage(alerts=found, next_before=next_before)


def _shown(parts: Parts, row: AlertRow) -> ShownAlert:
    end_ms = _end_ms(parts, row)
    action = TO_DO[row.kind].format(customer=row.customer)
    if row.state == "failed":
        action += (
            "; the webhook was not notified, and will not be notified again: fix"
            " `webhook_url`"
        )
    return ShownAlert(
        id=row.id,
        rule=row.rule,
        kind=row.kind,
        customer=row.customer,
        percent=row.level or None,
        message=row.message,
        action=action,
        since=format_time_ms(row.since_ms),
        until=time_text(end_ms),
        is_open=end_ms is not None and parts.clock.now_ms() < end_ms,
        raised=format_time_ms(row.raised_ms),
        state=row.state,
        attempts=row.attempts,
        delivered=time_text(row.delivered_ms),
        next_attempt=time_text(row.next_ms or None) if row.state == "pending" else None,
        error=row.error,
    )


def _end_ms(parts: Parts, row: AlertRow) -> int | None:
    """Return the end of what an alert is about; ``None``: nobody knows any more."""
    if row.kind != "limit":
        return row.since_ms + DAY_MS
    if parts.customers.get(row.customer) is None:
        return None
    calendar = CustomerCalendar.of(parts.terms.terms, row.customer)
    try:
        return calendar.at(row.since_ms).end
    except PricingError:
        return None  # their first day was moved behind it


OPERATIONS = (Operation("/v1/alerts", list_alerts),)
