"""Puts the archive together: where its files lie, and what may leave for them."""

from typing import NamedTuple, Protocol

from meterline_sidecar.billing.leaving import Leaving
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.fleet.questions import Questions
from meterline_sidecar.fleet.raw_events import RawEvents
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ledger.archive import Archive, Journal
from meterline_sidecar.ledger.archive_watch import ArchiveWatch
from meterline_sidecar.ledger.archived import Archived, usual_form
from meterline_sidecar.ledger.edge_events import EdgeEvents
from meterline_sidecar.ledger.edge_files import EdgeFiles
from meterline_sidecar.ledger.erase import Eraser
from meterline_sidecar.ledger.leaving_copies import LeavingCopies
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.terms.book import Terms


def open_eraser(
    config: Config,
    database: Ledger,
    archived: Archived,
    journal: Journal,
    terms: Terms,
    clock: Clock,
    ingest: Ingest,
) -> Eraser:
    """Return what takes names out of the ledger."""
    return Eraser(
        database,
        archived,
        journal,
        terms=terms,
        forget=ingest.forget_subjects,
        files=LedgerFiles(config.sidecar.database),
        spool_dir=config.sidecar.spool_dir,
        clock=clock,
        key=archived.key,
    )


def open_edge_files(
    config: Config,
    database: Ledger,
    archived: Archived,
    journal: Journal,
    clock: Clock,
    alarm: str | None,
) -> EdgeFiles | None:
    """Return what writes an edge's files; ``None`` where it is to write none.

    Args:
        alarm: why the ledger is not trusted; then nothing is written.
    """
    if not config.is_edge or config.archive.url is None:
        return None
    return EdgeFiles(
        database,
        archived,
        journal,
        form=usual_form(),
        clock=clock,
        is_trusted=alarm is None,
    )


def open_packer(
    config: Config, database: Ledger, archived: Archived, clock: Clock
) -> Packer | None:
    """Return what packs events; ``None`` for a ledger on a server, which does not."""
    if config.server is not None:
        return None
    return Packer(database, archived, clock=clock)


class Keeping(NamedTuple):
    """What becomes of events once they are stored and counted."""

    archive: Archive
    archive_watch: ArchiveWatch
    raw_events: RawEvents
    packer: Packer | None
    eraser: Eraser


def open_keeping(
    files: "Files",
    database: Ledger,
    archived: Archived,
    journal: Journal,
    terms: Terms,
    clock: Clock,
    edges: Edges | None,
    filing: Filing | None,
    *,
    alarm: str | None,
    ingest: Ingest,
) -> Keeping:
    """Return the parts that pack events, let them go, and take names out of them."""
    config, among = files.config, (journal, terms, clock)
    questions = Questions(database, edges, clock=clock)
    return Keeping(
        archive=open_archive(files, database, archived, *among, alarm, filing),
        archive_watch=ArchiveWatch(database, archived),
        raw_events=RawEvents(EdgeEvents(database, archived), questions),
        packer=open_packer(config, database, archived, clock),
        eraser=open_eraser(config, database, archived, *among, ingest),
    )


class Files(Protocol):
    """The files of the configuration."""

    @property
    def config(self) -> Config:
        """What they say, as far as it holds."""
        ...


def open_archive(
    files: Files,
    database: Ledger,
    archived: Archived,
    journal: Journal,
    terms: Terms,
    clock: Clock,
    alarm: str | None,
    filing: Filing | None,
) -> Archive:
    """Return what moves events to the archive.

    Args:
        alarm: why the ledger is not trusted; then nothing leaves it.
        filing: at an edge, knows what the centre has.
    """
    retention = files.config.retention.events
    leaving = Leaving(
        terms, clock=clock, is_reported=lambda who: files.config.reports(who)
    )

    def before() -> int | None:
        if retention is None or alarm is not None:
            return None
        return retention.before(clock.now_ms())

    return Archive(
        database,
        archived,
        journal,
        form=usual_form(),
        clock=clock,
        before=before,
        judging=leaving.judging,
        copies=None if filing is None else LeavingCopies(filing),
    )
