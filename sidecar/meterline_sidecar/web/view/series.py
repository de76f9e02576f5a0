"""What pages show over time: which meters, and the usage behind an invoice."""

from collections.abc import Sequence
from typing import Final

from meterline_pricing import Period
from meterline_pricing.errors import unknown
from meterline_sidecar.billing.statement import Statement
from meterline_sidecar.config.shape import Customer
from meterline_sidecar.meters import AGGREGATIONS, Meter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.usage.counted import Counted
from meterline_sidecar.usage.customer_usage import CustomerUsage
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest

EARLIER: Final = 6  # billing periods


def charted_of_all(parts: Parts) -> list[Meter]:
    """Return the meters with a chart of everybody together, without hidden ones.

    How many different values all customers used is not kept: counting them would read
    every value that there is.
    """
    return [
        m for m in parts.shown_meters if not AGGREGATIONS[m.aggregation].is_distinct
    ]


def find_meter(meters: Sequence[Meter], name: str | None) -> Meter | None:
    """Return the meter of that name, else the first; ``None`` where there is none.

    Raises:
        BadRequest: there are meters, and none of that name; names the nearest.
    """
    if name is None:
        return meters[0] if meters else None
    found = next((meter for meter in meters if meter.name == name), None)
    if found is None:
        known = [meter.name for meter in meters]
        raise BadRequest(unknown("meter", name[:100], known))
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
