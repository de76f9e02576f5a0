"""Alerts: what was raised, and whether somebody was told; as a page and as JSON."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store import alerts as store
from meterline_sidecar.store.alerts import State
from meterline_sidecar.web.api.all import ID_MAX
from meterline_sidecar.web.operations import Operation, read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import PAGE, Limit
from meterline_sidecar.web.view.render import render

PAGE_ALERTS: Final = 50


class AlertsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts, the newest first."""

    before: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_before` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


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


async def list_alerts(parts: Parts, query: AlertsQuery) -> AlertPage:
    """List the alerts that were raised, the newest first."""
    async with parts.database.reading() as tx:
        rows = await store.newest(tx, before=query.before, limit=query.limit)
    return AlertPage(
        alerts=[
            ShownAlert(
                id=row.id,
                rule=row.rule,
                kind=row.kind,
                customer=row.customer,
                percent=row.level or None,
                message=row.message,
                raised=format_time_ms(row.raised_ms),
                state=row.state,
                attempts=row.attempts,
                error=row.error,
            )
            for row in rows
        ],
        next_before=rows[-1].id if len(rows) == query.limit else None,
    )


async def alerts(request: Request) -> Response:
    """Answer the page of alerts."""
    parts: Parts = request.app.state.parts
    query = read_query(request, AlertsQuery, keeps_empty=False)
    async with parts.database.reading() as tx:
        rows = await store.newest(tx, before=query.before, limit=PAGE_ALERTS)
        n_waiting, n_failed = await store.waiting(tx)
    return render(
        request,
        "alerts.html",
        {
            "rows": rows,
            "rules": parts.config.alert_rules,
            "url": parts.config.alerts.webhook_url,
            "n_waiting": n_waiting,
            "n_failed": n_failed,
            "is_first": query.before == ID_MAX,
            "older": rows[-1].id if len(rows) == PAGE_ALERTS else None,
        },
    )


OPERATIONS = (Operation("/v1/alerts", list_alerts),)
