"""Erasures: taking a person's name out of the ledger, and what was taken out."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.web.answers.erasures import (
    Erased,
    ErasurePage,
    NewErasure,
    ShownErasure,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import ID_MAX, PAGE, Limit, Nothing

SUBJECT_CHARS: Final = (1, 256)
REASON_CHARS: Final = (1, 500)


class ErasuresQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which erasures, the newest first."""

    before: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_before` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


async def list_erasures(parts: Parts, query: ErasuresQuery) -> ErasurePage:
    """List names that were erased, the newest first; whose they were is not said."""
    async with parts.database.reading() as tx:
        rows = await store.erasures(tx, before=query.before, limit=query.limit)
    return ErasurePage(
        erasures=tuple(_shown(row) for row in rows),
        next_before=rows[-1].id if len(rows) == query.limit else None,
    )


async def erase_subject(
    parts: Parts, query: Nothing, *, body: NewErasure, author: str
) -> Erased:
    """Put an alias in the place of a subject's name, wherever it stands in the ledger."""
    for name, text, (least, most) in (
        ("subject", body.subject, SUBJECT_CHARS),
        ("reason", body.reason, REASON_CHARS),
    ):
        if not least <= len(text) <= most:
            raise BadRequest(f"{name} has {least} to {most} characters")
    if body.subject in body.reason:
        raise BadRequest("the reason is kept: it must not hold the name")
    eraser = parts.eraser
    if body.dry_run:
        holds = await eraser.look(body.subject)
        return Erased(
            is_dry_run=True,
            erasure=None,
            events=holds.events,
            mentions=holds.mentions,
            spools=holds.spools,
            remains=0,
        )
    row = await eraser.erase(body.subject, author=author, reason=body.reason)
    return Erased(
        is_dry_run=False,
        erasure=_shown(row),
        events=row.events,
        mentions=await eraser.mentions(body.subject),
        spools=await eraser.spools(body.subject),
        remains=await eraser.remains(body.subject),
    )


def _shown(row: store.NewErasure) -> ShownErasure:
    return ShownErasure(
        erasure=row.id,
        alias=row.alias,
        digest=row.digest.hex(),
        events=row.events,
        batches=row.batches,
        erased=format_time_ms(row.erased_ms),
        author=row.author,
        reason=row.reason,
    )


OPERATIONS = (
    Operation("/v1/erasures", list_erasures),
    Operation("/v1/erasures", erase_subject, method="POST"),
)
