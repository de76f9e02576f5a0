"""Usage over time: by meter, customer and dimension."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.meters import Dimension
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.usage.customer_usage import unassigned_usage
from meterline_sidecar.usage.series import read_series
from meterline_sidecar.web.dashboard.ranges import RANGES, Range, span_before
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import CustomerId, find_customer
from meterline_sidecar.web.view.charts import bars, plot_of
from meterline_sidecar.web.view.render import render
from meterline_sidecar.web.view.series import find_meter, summable


class UsagePageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    meter: str | None = None
    customer: CustomerId | None = None
    group_by: Dimension | None = None
    range: Range = "24h"


async def usage(request: Request) -> Response:
    """Answer the page of usage over time."""
    parts: Parts = request.app.state.parts
    query = read_query(request, UsagePageQuery, keeps_empty=False)
    meter = find_meter(parts, query.meter)
    if query.customer is not None:
        find_customer(parts, query.customer)
    if meter is not None and query.group_by not in (None, *meter.group_by):
        raise BadRequest(
            f"meter {meter.name} is not measured by {query.group_by}: add it to the"
            " meter's group_by in meterline.toml"
        )
    series = None
    async with snapshot(parts.database) as (tx, at):
        if meter is not None:
            span, step_ms = span_before(
                parts.clock.now_ms(), query.range, is_of_one=query.customer is not None
            )
            series = await read_series(
                tx,
                at,
                meter,
                span,
                step_ms=step_ms,
                customer=query.customer,
                group_by=query.group_by,
            )
        unassigned = await _unassigned(parts, tx, at)
    return render(
        request,
        "usage.html",
        {
            "query": query,
            "meters": summable(parts),
            "meter": meter,
            "ranges": list(RANGES),
            "series": series,
            "chart": None if series is None else bars(series),
            "plot": None if series is None else plot_of(series),
            "unassigned": unassigned,
        },
    )


async def _unassigned(
    parts: Parts, tx: Tx, at: Counted
) -> list[tuple[str | None, str]]:
    """Return who used something this month that nobody pays for, in words."""
    span, _ = span_before(parts.clock.now_ms(), "30d")
    found = await unassigned_usage(tx, at, parts.meters, period=span)
    return [
        (
            subject.subject,
            ", ".join(f"{meter.quantity:,} {meter.meter}" for meter in subject.meters),
        )
        for subject in found[:20]
    ]
