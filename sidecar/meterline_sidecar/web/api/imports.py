"""Imports: files of events that are put aside, looked at, and counted or thrown away."""

import asyncio
from typing import Annotated, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_sidecar.billing.consequences import edges_of, of_recount
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.ingest.import_diff import Sorted
from meterline_sidecar.ingest.imports import FAULTS_MAX, Found
from meterline_sidecar.ingest.names import DEFAULT_SOURCE
from meterline_sidecar.store.edge import imports as store
from meterline_sidecar.store.edge.imports import Fault
from meterline_sidecar.usage.supposed import with_more
from meterline_sidecar.web.answers.imports import (
    ChangedUsage,
    ImportDiff,
    ImportName,
    ImportPage,
    LeftOut,
    LinesTaken,
    NewImport,
    ShownImport,
)
from meterline_sidecar.web.api.external_forms import Form, Sending
from meterline_sidecar.web.api.external_shapes import PlainEvent
from meterline_sidecar.web.api.import_lines import LINES_MAX, digest_of, read_lines
from meterline_sidecar.web.money import shown_money
from meterline_sidecar.web.operations import (
    Body,
    Described,
    Operation,
    read_query,
)
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import BadRequest, Conflict, answer
from meterline_sidecar.web.query import ID_MAX, PAGE, Limit, Nothing
from meterline_sidecar.web.rights import LINES_PATH

SOURCE_CHARS_MAX: Final = 256


class ImportsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the list."""

    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = ID_MAX
    limit: Limit = PAGE


class ImportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which import: the newest of its name."""

    name: ImportName


class StageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which import is whole."""

    name: ImportName
    skip_bad: Annotated[
        bool, Meta(description="Leave lines out that cannot be taken.")
    ] = False


Source = Annotated[str, Meta(min_length=1, max_length=SOURCE_CHARS_MAX)]


class LinesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of which import."""

    name: ImportName
    first_line: Annotated[int, Meta(ge=1, le=ID_MAX)]
    source: Source = DEFAULT_SOURCE
    """Of events that name none."""


async def list_imports(parts: Parts, query: ImportsQuery) -> ImportPage:
    """List imports, the newest first."""
    async with parts.database.reading() as tx:
        rows = await store.page(tx, before=query.after, limit=query.limit)
        found = [Found(row, await store.sums_of(tx, row)) for row in rows]
    return ImportPage(
        page=tuple(_shown(parts, one) for one in found),
        next_after=rows[-1].id if len(rows) == query.limit else None,
    )


async def get_import(parts: Parts, query: ImportQuery) -> ShownImport:
    """Return an import, how far it is, and which lines are left out."""
    found = await parts.imports.find(query.name)
    async with parts.database.reading() as tx:
        faults = await store.faults_of(tx, found.row.id, limit=FAULTS_MAX)
    return msgspec.structs.replace(
        _shown(parts, found), left_out=tuple(map(_left_out, faults))
    )


async def begin_import(
    parts: Parts, query: Nothing, *, body: NewImport, author: str
) -> ShownImport:
    """Begin an import, or return the one of this name that is not over."""
    found = await parts.imports.begin(
        body.name, file=body.file, author=author, reason=body.reason
    )
    return _shown(parts, found)


async def stage_import(parts: Parts, query: StageQuery, author: str) -> ShownImport:
    """Say that all lines of an import are there; it waits to be committed."""
    found = await parts.imports.stage(
        query.name, skip_bad=query.skip_bad, author=author
    )
    return _shown(parts, found)


async def diff_import(parts: Parts, query: ImportQuery) -> ImportDiff:
    """Return what committing an import would change: usage, and what it comes to."""
    row, sums = await parts.imports.find(query.name)
    if row.state != "staged":
        raise Conflict(f"import {row.name} is {row.state}; only a staged one waits")
    async with parts.database.reading() as tx:
        first_ms = await store.first_ms(tx, row.id)
    assert first_ms is not None, "what is staged has an event"
    terms, into = parts.terms.terms, Sorted()
    found, n_unassigned = await with_more(
        parts.database,
        parts.imports.sorted_out(row.id, into),
        first_ms=first_ms,
        edges=await edges_of(parts.database, terms),
        history_of=terms.claims.history,
    )
    money = await of_recount(parts.database, terms, found, now_ms=parts.clock.now_ms())
    return ImportDiff(
        name=row.name,
        events=into.new,
        duplicates=into.duplicates,
        conflicts=into.conflicts,
        bad=sums.bad,
        without_subject=into.unattributed,
        without_customer=n_unassigned,
        usage=tuple(
            ChangedUsage(
                customer=one.customer or "",
                meter=one.meter,
                month=one.month,
                before=one.before,
                after=one.after,
            )
            for one in found.differences
        ),
        money=shown_money(money),
    )


async def commit_import(parts: Parts, query: ImportQuery, author: str) -> ShownImport:
    """Count the events of an import; it goes on by itself."""
    return _shown(parts, await parts.imports.commit(query.name, author=author))


async def discard_import(parts: Parts, query: ImportQuery, author: str) -> ShownImport:
    """Throw away what an import put aside."""
    return _shown(parts, await parts.imports.discard(query.name, author=author))


async def put_lines(request: Request) -> Response:
    """Take lines of a file, and answer what they came to."""
    query = read_query(request, LinesQuery, path_names=frozenset({"name"}))
    body = await request.body()
    return answer(await take_lines(request.app.state.parts, query, body))


async def take_lines(parts: Parts, query: LinesQuery, body: bytes) -> LinesTaken:
    """Put lines of a file aside: events in plain JSON, one a line.

    The same lines in the same place a second time change nothing.
    """
    if body.count(b"\n") > LINES_MAX:
        raise BadRequest(f"send at most {LINES_MAX:,} lines at once")
    sending = Sending(
        form=Form(PlainEvent, is_batch=None),
        now_ms=parts.clock.now_ms(),
        only_source=None,
        prepare=parts.external.prepare,
        default_source=query.source,
    )
    digest = await asyncio.to_thread(digest_of, body, sending)
    sums = await parts.imports.known(
        query.name, first_line=query.first_line, digest=digest
    )
    is_known = sums is not None
    if sums is None:
        lines = await asyncio.to_thread(
            read_lines, body, sending, first_line=query.first_line
        )
        sums = await parts.imports.put_aside(query.name, lines)
    return LinesTaken(
        lines=sums.lines, events=sums.events, bad=sums.bad, is_known=is_known
    )


def _shown(parts: Parts, found: Found) -> ShownImport:
    row, sums = found
    return ShownImport(
        name=row.name,
        file=row.file,
        state=row.state,
        since=format_time_ms(row.at_ms),
        begun=format_time_ms(row.begun_ms),
        author=row.author,
        decided_by=row.decided_by,
        reason=row.reason,
        lines=sums.lines,
        events=sums.events,
        bad=sums.bad,
        accepted=sums.accepted,
        duplicates=sums.duplicates,
        conflicts=sums.conflicts,
        trouble=parts.imports.trouble if row.state == "committing" else None,
    )


def _left_out(fault: Fault) -> LeftOut:
    return LeftOut(
        line=fault.line,
        verdict=fault.verdict,
        source=fault.source,
        id=fault.external_id,
        field=fault.field,
        reason=fault.reason,
    )


OPERATIONS = (
    Operation("/v1/imports", list_imports),
    Operation("/v1/imports", begin_import, method="POST"),
    Operation("/v1/imports/{name}", get_import),
    Operation("/v1/imports/{name}/stage", stage_import, method="POST"),
    Operation("/v1/imports/{name}/diff", diff_import),
    Operation("/v1/imports/{name}/commit", commit_import, method="POST"),
    Operation("/v1/imports/{name}/discard", discard_import, method="POST"),
)
DESCRIBED = (
    Described(
        path=LINES_PATH,
        method="put",
        name="put_lines",
        summary="Put lines of a file aside, in order; the same again change nothing",
        description="Events in plain JSON, one a line, up to 2,000 lines and 1 MiB at"
        " once. A line that is empty has no event, and keeps its number. After 429, 503"
        " or no answer at all, send the same again.",
        bodies={
            "text/plain": Body(
                None, '{"id": "1", "time": "2025-03-01T08:00:00Z", "subject": "a"}\n'
            )
        },
        answer=LinesTaken,
        example=msgspec.to_builtins(
            LinesTaken(lines=1, events=1, bad=0, is_known=False)
        ),
        query=LinesQuery,
    ),
)
ROUTES = (Route(LINES_PATH, put_lines, methods=["PUT"]),)
