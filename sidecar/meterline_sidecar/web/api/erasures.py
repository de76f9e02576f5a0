"""Erasures: taking a person's name out of the ledger, and what was taken out."""

import asyncio
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.ledger.copies import copies_of
from meterline_sidecar.ledger.erase_begin import Wanted
from meterline_sidecar.ledger.erase_texts import Mention as Found
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.web.answers.erasures import (
    BackupWithName,
    Erased,
    ErasurePage,
    Mention,
    NewErasure,
    ShownErasure,
)
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest
from meterline_sidecar.web.query import ID_MAX, PAGE, Limit, Nothing

SUBJECT_CHARS: Final = (1, 256)


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
        *(("also", word, SUBJECT_CHARS) for word in body.also),
    ):
        if not least <= len(text) <= most:
            raise BadRequest(f"{name} has {least} to {most} characters")
    if any(word in body.reason for word in (body.subject, *body.also)):
        raise BadRequest("the reason is kept: it must not hold the name")
    wanted = Wanted(body.subject, body.also, author, body.reason)
    eraser = parts.eraser
    if body.dry_run:
        holds = await eraser.look(wanted)
        return Erased(
            is_dry_run=True,
            erasure=None,
            events=holds.events,
            texts={},
            mentions=_mentions(holds.mentions),
            archive_files=holds.files,
            archive_unread=holds.unread,
            spools=holds.spools,
            is_back=False,
            backups=await _backups(parts),
            remains=0,
        )
    with parts.leading.as_leader():
        done = await eraser.erase(wanted)
    return Erased(
        is_dry_run=False,
        erasure=_shown(done.row),
        events=done.row.events,
        texts=done.texts,
        mentions=_mentions(await eraser.mentions(wanted)),
        archive_files=(),
        archive_unread=(),
        spools=await eraser.spools(wanted),
        is_back=await eraser.is_back(wanted),
        backups=await _backups(parts),
        remains=await eraser.remains(wanted),
    )


def _mentions(found: tuple[Found, ...]) -> tuple[Mention, ...]:
    return tuple(Mention(**one._asdict()) for one in found)


async def _backups(parts: Parts) -> tuple[BackupWithName, ...]:
    """Return the copies of the ledger that were made up to now."""
    copies = await asyncio.to_thread(copies_of, parts.config.sidecar.database)
    return tuple(
        BackupWithName(
            file=one.file,
            made=None if one.made_ms is None else format_time_ms(one.made_ms),
            is_here=one.is_here,
        )
        for one in copies
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
