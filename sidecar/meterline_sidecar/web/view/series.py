"""What pages show over time: which meters, and the usage behind an invoice."""

from typing import Final

from meterline_pricing import Period
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.meters import AGGREGATIONS, Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import CustomerUsage
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest

EARLIER: Final = 6  # billing periods


def summable(parts: Parts) -> list[Meter]:
    """Return the meters that a chart can show: distinct values do not add up."""
    return [
        meter for meter in parts.meters if AGGREGATIONS[meter.aggregation].has_chart
    ]


def find_meter(parts: Parts, name: str | None) -> Meter | None:
    """Return the meter of that name, else the first; ``None`` where there is none.

    Raises:
        BadRequest: there are meters, and none of that name.
    """
    meters = summable(parts)
    if name is None:
        return meters[0] if meters else None
    found = next((meter for meter in meters if meter.name == name), None)
    if found is None:
        raise BadRequest(f"no meter {name[:100]!r} that can be shown over time")
    return found


async def usage_behind(
    parts: Parts,
    tx: Tx,
    at: Counted,
    customer: Customer,
    period: Period,
    statement: Statement | None,
) -> CustomerUsage:
    """Return the usage that an invoice says; without one, what is counted now."""
    if statement is None:
        return await parts.billing.usage(tx, at, customer, period)
    return CustomerUsage(
        customer=customer.id,
        period=period,
        meters=statement.usage,
        counted_up_to_event=statement.counted_up_to_event,
    )
