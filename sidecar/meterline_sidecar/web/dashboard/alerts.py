"""Alerts: which rules there are, what was raised, and whether somebody was told."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.store import alerts as store
from meterline_sidecar.web.api.alerts import AlertsQuery
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX
from meterline_sidecar.web.view.render import render

PAGE_ALERTS: Final = 50


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
