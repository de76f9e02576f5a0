"""Late usage that is not billed by itself, and what people decide about it."""

from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store.edge import late as store
from meterline_sidecar.store.edge.late import LateRow
from meterline_sidecar.web.answers.late import LatePage, ShownLate
from meterline_sidecar.web.answers.reason import Reason
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX, PAGE, CustomerId, Limit


class LateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the list."""

    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE
    customer: CustomerId | None = None
    """Only theirs."""


class DecideLateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which late usage is decided about, and why."""

    late: Annotated[int, Meta(ge=1, le=ID_MAX)]
    reason: Reason


async def list_late(parts: Parts, query: LateQuery) -> LatePage:
    """List usage that came when its period was final and is not billed by itself."""
    async with parts.database.reading() as tx:
        rows = await store.late_before(
            tx, query.after, limit=query.limit, customer=query.customer
        )
    return LatePage(
        late=tuple(map(_shown, rows)),
        next_after=rows[-1].correction.id if len(rows) == query.limit else None,
    )


async def accept_late(parts: Parts, query: DecideLateQuery, author: str) -> ShownLate:
    """Bill late usage after all, as an adjustment of its period."""
    with parts.leading.as_leader():
        await parts.late.accept(query.late, author=author, reason=query.reason)
    return await _one(parts, query.late)


async def reject_late(parts: Parts, query: DecideLateQuery, author: str) -> ShownLate:
    """Leave late usage out of billing for good."""
    await parts.late.reject(query.late, author=author, reason=query.reason)
    return await _one(parts, query.late)


async def _one(parts: Parts, late_id: int) -> ShownLate:
    async with parts.database.reading() as tx:
        row = await store.get_late(tx, late_id)
    assert row is not None, "it was decided about"
    return _shown(row)


def _shown(row: LateRow) -> ShownLate:
    said = msgspec.json.decode(row.correction.query, type=dict[str, str])
    return ShownLate(
        late=row.correction.id,
        customer=said["customer"],
        period=said["period"],
        events=row.correction.events,
        state=row.state,
        held_back=format_time_ms(row.correction.corrected_ms),
        author=row.author,
        reason=row.reason,
    )


OPERATIONS = (
    Operation("/v1/late", list_late),
    Operation("/v1/late/{late}/accept", accept_late, method="POST"),
    Operation("/v1/late/{late}/reject", reject_late, method="POST"),
)
