"""The archive: which files there are, and moving events out and back, step by step."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.store.edge import archive as store
from meterline_sidecar.store.edge import edge_files
from meterline_sidecar.store.edge.archive import NewMove
from meterline_sidecar.web.answers.archive import Archive, ArchiveFile, ArchiveStep
from meterline_sidecar.web.answers.edge_events import EdgeFile, EdgeFilePage
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import Conflict
from meterline_sidecar.web.query import ID_MAX, PAGE, Limit, Nothing

NAME_CHARS_MAX: Final = 100


class ArchiveQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which files."""

    after: Annotated[
        int, Meta(ge=0, le=ID_MAX, description="`next_after` of the page before.")
    ] = 0
    limit: Limit = PAGE


class BackQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which file."""

    file: Annotated[
        str, Meta(max_length=NAME_CHARS_MAX, description="The name of a file.")
    ]


async def read_archive(parts: Parts, query: ArchiveQuery) -> Archive:
    """Return which files hold events that left the ledger, a page at a time."""
    async with parts.database.reading() as tx:
        files = await store.files(tx, after_batch=query.after, limit=query.limit)
        sums = await store.sums(tx)
        files_of_edges = await edge_files.sums(tx)
    archive, retention = parts.archive, parts.config.retention.events
    filing = None if parts.forwarder is None else parts.forwarder.filing
    shelf, of_edges = archive.archived.shelf, archive.archived.of_edges
    return Archive(
        place=None if shelf is None else shelf.place,
        retention=None if retention is None else str(retention),
        files=sums.files,
        events=sums.events,
        bytes=sums.file_bytes,
        page=[_shown(file) for file in files],
        next_after=files[-1].first_batch_id if len(files) == query.limit else None,
        waits=archive.waits,
        trouble=archive.trouble or (None if filing is None else filing.files.trouble),
        edge_files=sum(one.files for one in files_of_edges.values()),
        edges_place=None if of_edges is None else of_edges.place,
        unreadable=parts.archive_watch.trouble,
    )


async def list_edge_files(parts: Parts, query: ArchiveQuery) -> EdgeFilePage:
    """List files that edges wrote of what is in their ledgers; at an edge, its own."""
    edges = () if parts.edges is None else parts.edges.all()
    names = {edge.row.id: edge.row.name for edge in edges}
    async with parts.database.reading() as tx:
        files = await edge_files.files_after(tx, query.after, limit=query.limit)
    return EdgeFilePage(
        files=[
            EdgeFile(
                **msgspec.structs.asdict(_shown(file.what.as_move())),
                edge=names.get(file.what.edge_id),
                learned=format_time_ms(file.what.learned_ms),
            )
            for file in files
        ],
        next_after=files[-1].id if len(files) == query.limit else None,
    )


async def run_archive(parts: Parts, query: Nothing) -> ArchiveStep:
    """Move the next file of old events out of the ledger; an edge copies first.

    That is all that its centre has, also of the hour that is not over.
    """
    if parts.forwarder is not None:
        copied = await _file_at_edge(parts, parts.forwarder.filing)
        if copied.moved is not None or parts.config.retention.events is None:
            return copied
    if parts.alarm is not None:
        raise Conflict(f"nothing leaves a ledger that is not trusted: {parts.alarm}")
    if parts.config.retention.events is None:
        raise Conflict("events stay for ever: set retention.events and archive.url")
    if parts.watch is not None and not parts.watch.is_right():
        raise Conflict("this machine's clock jumped: how old events are is not known")
    with parts.leading.as_leader():
        step = await parts.archive.step(by_hand=True)
    moved = None if step.moved is None else _shown(step.moved)
    return ArchiveStep(moved=moved, is_done=moved is None, waits=step.waits)


async def _file_at_edge(parts: Parts, filing: Filing | None) -> ArchiveStep:
    if filing is None:
        raise Conflict("no place for files is configured: set archive.url")
    if parts.alarm is not None:
        raise Conflict(
            f"nothing is copied of a ledger that is not trusted: {parts.alarm}"
        )
    if filing.reached is None:
        raise Conflict(
            "the centre has not reported yet what it has: see `meterline status`"
        )
    file = await filing.write_next(is_urgent=True)
    copied = None if file is None else _shown(file.as_move())
    return ArchiveStep(moved=copied, is_done=copied is None, waits=None, is_copy=True)


async def restore_archive(parts: Parts, query: BackQuery) -> ArchiveStep:
    """Bring the newest file back into the ledger, on the way to one that is named."""
    with parts.leading.as_leader():
        back = await parts.archive.bring_back(query.file)
    return ArchiveStep(moved=_shown(back), is_done=back.file == query.file, waits=None)


def _shown(move: NewMove) -> ArchiveFile:
    counts = move.beyond_ms > 0
    return ArchiveFile(
        file=move.file,
        bytes=move.file_bytes,
        digest=move.digest,
        first_batch=move.first_batch_id,
        last_batch=move.last_batch_id,
        first_event=move.first_event_id,
        last_event=move.last_event_id,
        events=move.events,
        losses=move.losses,
        start=format_time_ms(move.first_ms) if counts else None,
        end=format_time_ms(move.beyond_ms) if counts else None,
        moved=format_time_ms(move.moved_ms),
    )


OPERATIONS = (
    Operation("/v1/archive", read_archive),
    Operation("/v1/archive/edge-files", list_edge_files),
    Operation("/v1/archive/run", run_archive, method="POST"),
    Operation("/v1/archive/restore", restore_archive, method="POST"),
)
