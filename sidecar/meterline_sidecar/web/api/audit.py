"""The audit log: who changed what money stands on, when and why."""

from typing import Annotated

import msgspec
from msgspec import Meta

from meterline_sidecar.billing.audit import acts_before
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.web.answers.audit import AuditPage, ShownAct
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.query import ID_MAX, PAGE, CustomerId, Limit


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the log."""

    customer: (
        Annotated[
            CustomerId,
            Meta(
                description="Only what was decided about this customer: terms, invoices,"
                " credit notes, payments and credits."
            ),
        ]
        | None
    ) = None
    after: Annotated[
        int,
        Meta(
            ge=0,
            le=ID_MAX,
            description="`next_after` of the page before, which goes on with what is"
            " older; by default the newest.",
        ),
    ] = ID_MAX
    limit: Limit = PAGE


async def read_audit(parts: Parts, query: AuditQuery) -> AuditPage:
    """Return who changed what money stands on, the newest first."""
    async with parts.database.reading() as tx:
        acts, next_after = await acts_before(
            tx, query.after, customer=query.customer, limit=query.limit
        )
    return AuditPage(
        acts=tuple(
            ShownAct(
                link=act.link,
                at=format_time_ms(act.at_ms),
                author=act.author,
                about=act.about,
                what=act.what,
                reason=act.reason,
                change=act.change,
            )
            for act in acts
        ),
        next_after=next_after,
    )


OPERATIONS = (Operation("/v1/audit", read_audit),)
