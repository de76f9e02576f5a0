"""Looks at the files that edges wrote: those of this ledger, and at a centre all of them."""

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.bundle import Bundle
from meterline_sidecar.ledger.chain import GENESIS
from meterline_sidecar.ledger.edge_sums import EdgeSums
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import archive
from meterline_sidecar.store.edge import edge_files as store
from meterline_sidecar.store.edge.edge_files import OWN, EdgeFile
from meterline_sidecar.store.edge.events import mac_of_batch
from meterline_sidecar.store.port import Tx


async def look_at_edge_files(
    tx: Tx, report: Report, progress: Progress, archived: Archived | None
) -> None:
    """Compare each file with what is noted of it, with the one before, and with usage.

    What left this ledger for one of its own is compared with the archive.

    Args:
        archived: ``None``: the files are not read. Nor are those of which nobody says
            where they lie: nothing of the ledger is in them that is not elsewhere.
    """
    sums = await store.sums(tx)
    left_for = {move.file: move.digest for move in await archive.files(tx)}
    own = None if archived is None else archived.shelf
    of_edges = None if archived is None else archived.of_edges
    compared = None if of_edges is None else await EdgeSums.of(tx)
    n_files, done = sum(one.files for one in sums.values()), 0
    for edge_id in sorted(sums):
        files = await store.files_of(tx, edge_id)
        _look_at_order(files, report)
        for file in files:
            done += 1
            if edge_id == OWN and file.what.file in left_for:
                if left_for[file.what.file] != file.what.digest:
                    report.add(
                        f"edge_files: {file.what.file} is not the one in archive_moves"
                    )
                continue
            place = own if edge_id == OWN else of_edges
            if archived is None or place is None:
                report.edge_files_unread += 1
                continue
            bundle = await _look_at(tx, file, report, archived)
            if compared is not None and bundle is not None:
                compared.add(file, bundle)
            progress("files of edges", done, n_files)
    if compared is not None:
        await compared.compare(tx, report)


def _look_at_order(files: list[EdgeFile], report: Report) -> None:
    """Note what follows on nothing that is noted: each begins where one ended."""
    ends = {GENESIS, *(file.what.mac for file in files)}
    for file in files:
        if file.what.previous_mac not in ends:
            report.add(f"edge_files: {file.what.file} does not follow on any other")


async def _look_at(
    tx: Tx, file: EdgeFile, report: Report, archived: Archived
) -> Bundle | None:
    what, is_own = file.what, file.what.edge_id == OWN
    if is_own and await mac_of_batch(tx, what.last_batch_id) not in (None, what.mac):
        report.add(f"edge_files: {what.file} is not of the batches of this ledger")
    try:
        bundle = await archived.bundle(what.as_move(), is_own=is_own)
    except ArchiveFailed as error:
        report.add(f"a file of {'this' if is_own else 'an'} edge: {error}")
        return None
    report.edge_files += 1
    return bundle
