"""The first page: is it working, what is coming in, who pays what."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.usage.counted import snapshot
from meterline_sidecar.usage.series import read_series
from meterline_sidecar.web.api.status import read_status
from meterline_sidecar.web.dashboard.pipeline import stages
from meterline_sidecar.web.dashboard.ranges import RANGES, Range, span_before
from meterline_sidecar.web.dashboard.to_do import shown
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.view.charts import figure_of
from meterline_sidecar.web.view.render import render
from meterline_sidecar.web.view.series import charted_of_all, find_meter

CUSTOMERS_SHOWN = 8
WORKERS_SHOWN = 8


class OverviewQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the chart shows."""

    meter: str | None = None
    range: Range = "24h"


async def overview(request: Request) -> Response:
    """Answer the first page."""
    parts: Parts = request.app.state.parts
    query = read_query(request, OverviewQuery, is_page=True)
    state = await read_status(parts)
    meters = charted_of_all(parts)
    meter = find_meter(meters, query.meter)
    figure = None
    if meter is not None:
        span, step_ms = span_before(state.now_ms, query.range)
        async with snapshot(parts.database) as (tx, at):
            series = await read_series(tx, at, meter, span, step_ms=step_ms)
        figure = figure_of(
            meter, series, names=parts.config.names, when=f"in {query.range}"
        )
    ranked = parts.standings.ranked(CUSTOMERS_SHOWN)
    return render(
        request,
        "overview.html",
        {
            "state": state,
            "problems": shown(state.problems),
            "stages": list(
                stages(state, is_dry_run=parts.config.stripe.mode == "dry_run")
            ),
            "meters": meters,
            "meter": meter,
            "ranges": list(RANGES),
            "range": query.range,
            "figure": figure,
            "ranked": [(s, parts.customers.get(s.customer)) for s in ranked],
            "highest": max((s.total or 0 for s in ranked), default=0),
            "totals": parts.standings.totals(),
            "n_customers": len(parts.customers),
            "n_missing": parts.standings.n_missing,
            "workers": state.producers.shown[:WORKERS_SHOWN],
        },
    )
