"""Reads raw events of edges in the files that they wrote, as far as they are noted."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from meterline.events import Flag
from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge.edge_files import EdgeFile
from meterline_sidecar.store.edge.events import EventRow
from meterline_sidecar.store.port import Readable

FILES_MAX: Final = 4  # read for one part; each takes some tenths of a second
ROWS_PER_READ: Final = 20
EVENTS_MAX: Final = 1 << 17
"""Of one file, more than an edge puts into one: a place in all files is
``row * EVENTS_MAX + place in the file``."""
ROLLED_UP: Final = int(Flag.ROLLED_UP)


class Wanted(NamedTuple):
    """Which events are asked for."""

    start: int
    end: int
    """Between which times they happened."""
    matches: Callable[[EventRow], bool]


class Found(NamedTuple):
    """An event of an edge."""

    file: str | None
    """In which it lies; ``None``: in none."""
    event_id: int
    """In the ledger of the edge."""
    producer: str
    event: EventRow


class Part(NamedTuple):
    """Some that are in files of one edge, file by file, and where to go on."""

    events: list[Found]
    reached: int
    is_all: bool
    """Whether nothing is behind that, as far as files are noted."""
    last_file: str
    """The one with the last batches of this edge that was noted then; empty for none."""
    failed: str | None = None
    """Why a file cannot be read, or is not what was noted, by name: none behind it was."""


class EdgeEvents:
    """What is in the files of a centre's edges."""

    def __init__(self, database: Readable, archived: Archived) -> None:
        self._database = database
        self._archived = archived
        self._last: tuple[int, Bundle] | None = None
        """The file that was read last: it is asked for page by page."""

    async def part(
        self, edge_id: int, wanted: Wanted, *, after: int, limit: int
    ) -> Part:
        """Return the first events of an edge behind a place.

        It may be short, or even empty, without being all.
        """
        row_id, skip = divmod(after, EVENTS_MAX)
        found: list[Found] = []
        n_read = 0
        while True:
            async with self._database.reading() as tx:
                files = await store.files_of_span(
                    tx,
                    wanted.start,
                    wanted.end,
                    after=max(0, row_id - 1),
                    edge_id=edge_id,
                    limit=ROWS_PER_READ,
                )
                last = await store.last_file(tx, edge_id)
            name = "" if last is None else last.what.file
            for file in files:
                if file.id != row_id:
                    row_id, skip = file.id, 0
                if n_read == FILES_MAX or len(found) == limit:
                    return Part(found, row_id * EVENTS_MAX + skip, False, name)
                n_read += 1
                try:
                    some, skip = await self._events_of(
                        file, wanted, skip=skip, limit=limit - len(found)
                    )
                except ArchiveFailed as error:
                    at = row_id * EVENTS_MAX + skip
                    return Part(found, at, False, name, failed=str(error))
                found += some
                if len(found) == limit:
                    return Part(found, row_id * EVENTS_MAX + skip, False, name)
                row_id, skip = file.id + 1, 0
            if len(files) < ROWS_PER_READ:
                self._last = None
                return Part(found, row_id * EVENTS_MAX + skip, True, name)

    async def _events_of(
        self, file: EdgeFile, wanted: Wanted, *, skip: int, limit: int
    ) -> tuple[list[Found], int]:
        if self._last is None or self._last[0] != file.id:
            bundle = await self._archived.bundle(file.what.as_move(), is_own=False)
            self._last = (file.id, bundle)
        bundle = self._last[1]
        # In a thread: a file has many events, of which few may be asked for.
        return await asyncio.to_thread(
            _found_in, bundle, file, wanted, skip=skip, limit=limit
        )


def _found_in(
    bundle: Bundle, file: EdgeFile, wanted: Wanted, *, skip: int, limit: int
) -> tuple[list[Found], int]:
    """Return events of a file that are wanted, and how many of it were looked at."""
    found: list[Found] = []
    place = 0
    for stored in bundle.batches:
        first_id = stored.batch.first_event_id
        for event_id, event in enumerate(stored.events, first_id):
            place += 1
            if (
                place > skip
                and wanted.start <= event.time_ms < wanted.end
                and not event.flags & ROLLED_UP
                and wanted.matches(event)
            ):
                found.append(Found(file.what.file, event_id, stored.producer, event))
                if len(found) == limit:
                    return found, place
    return found, place
