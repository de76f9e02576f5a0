"""Where raw events are that left the ledger, or that only an edge ever had."""

from typing import Final

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store.edge import archive
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.port import Tx
from meterline_sidecar.web.answers.archive import EdgeFiled
from meterline_sidecar.web.parts import Parts

FILES_NAMED_MAX: Final = 20


async def archived_names(tx: Tx, *, start: int, end: int) -> tuple[str, ...]:
    """Return the first files of the archive that hold events of a span."""
    files = await archive.files_of_span(tx, start, end, limit=FILES_NAMED_MAX)
    return tuple(file.file for file in files)


async def filed_by(
    tx: Tx, parts: Parts, *, start: int, end: int
) -> tuple[EdgeFiled, ...]:
    """Return how far edges that forward usage have their events of a span in files."""
    if parts.edges is None:
        return ()
    sums = await store.sums(tx)
    found: list[EdgeFiled] = []
    for edge in parts.edges.all():
        known = sums.get(edge.row.id)
        if not edge.rolls_up or (edge.is_retired and known is None):
            continue
        files = await store.files_of_span(
            tx, start, end, after=0, edge_id=edge.row.id, limit=FILES_NAMED_MAX
        )
        to = None if known is None else format_time_ms(known.learned_ms)
        names = tuple(file.what.file for file in files)
        found.append(EdgeFiled(edge=edge.row.name, files=names, filed_to=to))
    return tuple(found)
