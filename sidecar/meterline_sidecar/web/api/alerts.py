"""Alerts: what was raised, and whether somebody was told."""

from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store import alerts as store
from meterline_sidecar.web.answers.alerts import AlertPage, ShownAlert
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX, PAGE, Limit


class AlertsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which alerts, the newest first."""

    before: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_before` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


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


OPERATIONS = (Operation("/v1/alerts", list_alerts),)
