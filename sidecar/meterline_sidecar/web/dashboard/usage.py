"""Usage over time: by meter, customer and dimension."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from meterline.events import PROPERTY_NAME_CHARS_MAX
from meterline_sidecar.meters import AGGREGATIONS, Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted, snapshot
from meterline_sidecar.usage.customer_usage import unassigned_usage
from meterline_sidecar.usage.series import read_series
from meterline_sidecar.web.dashboard.ranges import RANGES, Range, span_before
from meterline_sidecar.web.operations import read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import CustomerId, find_customer
from meterline_sidecar.web.view.charts import figure_of
from meterline_sidecar.web.view.filters import filtered, typed
from meterline_sidecar.web.view.render import number
from meterline_sidecar.web.view.series import charted_of_all, find_meter


class UsagePageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What the page shows."""

    meter: str | None = None
    customer: CustomerId | None = None
    group_by: Annotated[str, Meta(max_length=PROPERTY_NAME_CHARS_MAX)] | None = None
    range: Range = "24h"


async def usage(request: Request) -> Response:
    """Answer the page of usage over time."""
    parts: Parts = request.app.state.parts
    form = typed(request, UsagePageQuery)

    async def read() -> dict[str, Any]:
        return await _found(parts, read_query(request, UsagePageQuery, is_page=True))

    context = {
        "query": form,
        "meters": parts.meters,
        "dimensions": dimensions(parts.meters),
        "ranges": list(RANGES),
    }
    return await filtered(request, "usage.html", context, read)


def dimensions(meters: Iterable[Meter]) -> list[str]:
    """Return what any of the meters can be shown by, in their order."""
    return list(dict.fromkeys(name for meter in meters for name in meter.group_by))


async def _found(parts: Parts, query: UsagePageQuery) -> dict[str, Any]:
    """Return the chart that was asked for, and what nobody pays for."""
    meters = parts.meters
    if query.customer is None and query.meter is None:
        meters = charted_of_all(parts) or meters
    meter = find_meter(meters, query.meter)
    if query.customer is not None:
        find_customer(parts, query.customer)
    elif meter is not None and AGGREGATIONS[meter.aggregation].is_distinct:
        raise BadRequest(
            f"meter {meter.name} counts different values, which are not known of all"
            " customers together: choose a customer"
        )
    if meter is not None and query.group_by not in (None, *meter.group_by):
        raise BadRequest(
            f"meter {meter.name} is not measured by {query.group_by}: add it to the"
            " meter's group_by in meterline.toml"
        )
    figure = None
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
            of_whom = f" by {query.customer}" if query.customer else ""
            figure = figure_of(
                meter,
                series,
                names=parts.config.names,
                when=f"in {query.range}{of_whom}",
            )
        unassigned = await _unassigned(parts, tx, at)
    return {
        "meter": meter,
        "shown_range": query.range,
        "figure": figure,
        "unassigned": unassigned,
    }


async def _unassigned(
    parts: Parts, tx: Tx, at: Counted
) -> list[tuple[str | None, str]]:
    """Return who used something this month that nobody pays for, in words."""
    span, _ = span_before(parts.clock.now_ms(), "30d")
    names = parts.config.names
    found = await unassigned_usage(tx, at, parts.meters, period=span)
    return [
        (
            subject.subject,
            ", ".join(
                f"{number(meter.quantity)} {names.of(meter.meter)}"
                for meter in subject.meters
            ),
        )
        for subject in found[:20]
    ]
