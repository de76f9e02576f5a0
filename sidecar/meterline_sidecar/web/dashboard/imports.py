"""Imports: which there are, one whole with what it would change, and a file by a form."""

import asyncio
from io import BytesIO
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from meterline_sidecar.ingest.event_files import (
    BadFile,
    EventFile,
    chunks_of,
    name_of,
)
from meterline_sidecar.ingest.names import DEFAULT_SOURCE
from meterline_sidecar.web.answers.imports import ImportName, NewImport, ShownImport
from meterline_sidecar.web.api.imports import (
    ImportQuery,
    ImportsQuery,
    LinesQuery,
    Source,
    StageQuery,
    begin_import,
    commit_import,
    diff_import,
    discard_import,
    get_import,
    list_imports,
    stage_import,
    take_lines,
)
from meterline_sidecar.web.forms import Upload, read_form, read_upload
from meterline_sidecar.web.guard import may_write
from meterline_sidecar.web.operations import author_of, read_query
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import Conflict
from meterline_sidecar.web.query import ID_MAX, Nothing
from meterline_sidecar.web.rights import UPLOAD_BYTES_MAX
from meterline_sidecar.web.view.render import render

PAGE: Final = 50
LINES_SHOWN: Final = 50
USAGE_SHOWN: Final = 100
UPLOADING: Final = asyncio.Semaphore(2)
"""Files that are read at once: each is in memory, three times at most."""
UNPACKED_BYTES_MAX: Final = 16 << 20
"""Of a file by a form: some 100,000 to 300,000 events. Whoever sent it waits while they
are put aside, which is seconds."""


class ImportsPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which imports, the newest first."""

    after: Annotated[int, Meta(ge=0, le=ID_MAX)] = ID_MAX


class ImportPageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which import, and whether to say what it would change."""

    name: ImportName
    diff: Literal["yes"] | None = None


class UploadForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody says of the file that they choose."""

    name: ImportName | None = None
    source: Source = DEFAULT_SOURCE
    reason: Annotated[str, Meta(max_length=500)] = ""


class ImportForm(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody decides about an import."""

    decision: Literal["leave_out", "commit", "discard"]


async def imports(request: Request) -> Response:
    """Answer a page of imports."""
    parts: Parts = request.app.state.parts
    query = read_query(request, ImportsPageQuery, is_page=True)
    page = await list_imports(parts, ImportsQuery(after=query.after, limit=PAGE))
    return render(
        request,
        "imports.html",
        {
            "imports": page.page,
            "older": page.next_after,
            "bytes_max": UPLOAD_BYTES_MAX,
            "may_write": may_write(request),
        },
    )


async def one_import(request: Request) -> Response:
    """Answer one import whole; what it would change, where that is asked for."""
    parts: Parts = request.app.state.parts
    query = read_query(request, ImportPageQuery, is_page=True)
    shown = await get_import(parts, ImportQuery(name=query.name))
    diff = None
    if query.diff is not None and shown.state == "staged":
        diff = await diff_import(parts, ImportQuery(name=query.name))
    return render(
        request,
        "import.html",
        {
            "shown": shown,
            "diff": diff,
            "lines_shown": LINES_SHOWN,
            "usage_shown": USAGE_SHOWN,
            "may_write": may_write(request),
        },
    )


async def upload(request: Request) -> Response:
    """Put a file aside, and show what committing it would change."""
    if UPLOADING.locked():
        raise Conflict("other files are being put aside; try again soon")
    async with UPLOADING:
        form, file = await read_upload(request, UploadForm)
        shown = await _put_aside(
            request.app.state.parts, form, file, author=author_of(request)
        )
    return RedirectResponse(_address(shown), 303)


async def _put_aside(
    parts: Parts, form: UploadForm, file: Upload, *, author: str
) -> ShownImport:
    """Put the lines of a file aside; it is staged, unless some of them are bad."""
    given = BytesIO(file.content)
    with EventFile(
        file.name, None, given=given, bytes_max=UNPACKED_BYTES_MAX
    ) as opened:
        chunks = chunks_of(opened.lines())
        chunk = await asyncio.to_thread(next, chunks, None)
        if chunk is None:
            raise BadFile(f"{opened.name} is empty; nothing was imported")
        name = form.name or name_of(opened.name, chunk)
        new = NewImport(name=name, file=opened.name[-200:], reason=form.reason)
        begun = await begin_import(parts, Nothing(), body=new, author=author)
        query = ImportQuery(name=name)
        try:
            while chunk is not None:
                where = LinesQuery(
                    name=name, first_line=chunk.first_line, source=form.source
                )
                await take_lines(parts, where, chunk.text)
                chunk = await asyncio.to_thread(next, chunks, None)
        except BadFile:
            if not begun.lines:  # nothing of it is an earlier try's
                await discard_import(parts, query, author)
            raise
    shown = await get_import(parts, query)
    if shown.events and not shown.bad:
        shown = await stage_import(parts, StageQuery(name=name), author)
    return shown


def _address(shown: ShownImport) -> str:
    diff = "?diff=yes" if shown.state == "staged" else ""
    return f"/imports/{shown.name}{diff}"


async def decide(request: Request) -> Response:
    """Do with an import what somebody decided, and show it again."""
    form = await read_form(request, ImportForm)
    query = read_query(request, ImportQuery, path_names=frozenset(("name",)))
    parts: Parts = request.app.state.parts
    author = author_of(request)
    match form.decision:
        case "leave_out":
            staging = StageQuery(name=query.name, skip_bad=True)
            shown = await stage_import(parts, staging, author)
        case "commit":
            shown = await commit_import(parts, query, author)
        case "discard":
            shown = await discard_import(parts, query, author)
    return RedirectResponse(_address(shown), 303)
