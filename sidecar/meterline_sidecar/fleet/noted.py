"""The centre's end of its edges' files: takes note of each, once."""

from collections.abc import Iterable

from meterline.edge_wire import EdgeFile
from meterline.wire import WireError
from meterline_sidecar.fleet.edge import Edge
from meterline_sidecar.ledger.edge_events import EVENTS_MAX
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.shelf import FILE_BYTES_MAX
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge.edge_files import NewEdgeFile
from meterline_sidecar.store.port import Database


class NotedFiles:
    """What edges say of the files that they wrote: rows that are only added."""

    def __init__(self, database: Database, journal: Journal) -> None:
        self._database = database
        self._journal = journal

    async def start(self, edges: Iterable[Edge]) -> None:
        """Read how far edges have their events in files."""
        async with self._database.reading() as tx:
            sums = await store.sums(tx)
        for edge in edges:
            if edge.row.id in sums:
                edge.filed_ms = sums[edge.row.id].learned_ms

    async def last_of(self, edge: Edge) -> str:
        """Return the name of an edge's file that was noted last; empty for none."""
        async with self._database.reading() as tx:
            row = await store.newest_file(tx, edge.row.id)
        return "" if row is None else row.what.file

    async def note(self, edge: Edge, message: EdgeFile) -> None:
        """Take note of a file, unless it is noted already.

        Raises:
            WireError: no file can be as it is said to be.
        """
        if (
            message.first_batch_id > message.last_batch_id
            or message.first_ms > message.beyond_ms
            or message.file_bytes > FILE_BYTES_MAX
            or message.events >= EVENTS_MAX
        ):
            raise WireError("malformed", f"no file can be as {message.file} is told")
        file = NewEdgeFile(
            edge.row.id,
            *(getattr(message, name) for name in NewEdgeFile._fields[1:]),
        )
        async with self._database.transaction() as tx:
            known = await store.file_named(tx, edge.row.id, file.file)
            if known is not None and known.what.digest == file.digest:
                return
            row_id = await store.add_file(tx, file)
            await self._journal.link(tx, "edge_files", row_id)
        edge.filed_ms = max(edge.filed_ms, file.learned_ms)
