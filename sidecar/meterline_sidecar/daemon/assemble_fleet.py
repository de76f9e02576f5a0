"""Puts together what this sidecar is among others: an edge, a centre, or neither."""

import os
import secrets
import socket
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.alike import digests
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.fleet.countings import Countings
from meterline_sidecar.fleet.door import Door, credentials_of
from meterline_sidecar.fleet.edges import Edges
from meterline_sidecar.fleet.filing import Filing
from meterline_sidecar.fleet.forwarder import Forwarder
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.fleet.noted import NotedFiles
from meterline_sidecar.fleet.there import There
from meterline_sidecar.fleet.tls import centre_tls, edge_tls
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.external import OWN_PRODUCER
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.edge_files import EdgeFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.verify import check_newest
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge.events import marks
from meterline_sidecar.store.invoices import final_ends
from meterline_sidecar.store.port import Candidate, Database, Ledger
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.usage.aggregate import Aggregator

EDGE_ID: Final = "edge_id"
"""The fact that says which edge a ledger is; one that bills has none."""
FORWARDS: Final = "forwards"
"""The fact that says what this edge has sent from its first start on."""

OnFatal = Callable[[BaseException], None]


def open_leading(config: Config, ledger: Ledger) -> Leading:
    """Return what says whether this process leads; entered, it does or it follows.

    It holds the lock of the files beside the ledger: so nobody else has its seat.
    """
    seat = _seat(LedgerFiles(config.sidecar.database).lock)
    me = Candidate(
        life=f"{seat}{secrets.token_hex(16)}",
        name=f"{config.centre.own_name} (process {os.getpid()})",
        files=digests(config),
        seat=seat,
    )
    return Leading(ledger.lease, me, lease_s=config.centre.lease_s)


def _seat(lock: Path) -> str:
    """Return what names a lock of this host; the file stays when a process ends."""
    try:
        inode = lock.stat().st_ino
    except OSError:
        return ""  # of nobody: it waits for a lease as any other centre
    place = f"{socket.gethostname()}\0{os.path.realpath(lock)}\0{inode}"
    return f"{sha256(place.encode()).hexdigest()[:16]}-"


class Fleet(NamedTuple):
    """This sidecar among others; all ``None`` where it is alone."""

    forwarder: Forwarder | None = None
    edges: Edges | None = None
    door: Door | None = None

    @property
    def filing(self) -> Filing | None:
        """What an edge holds as files, if it is to write any."""
        return None if self.forwarder is None else self.forwarder.filing


async def open_there(config: Config, database: Database) -> There | None:
    """Return what apps wait for besides this ledger, if they do."""
    if not config.is_edge or config.centre.ack == "edge":
        return None
    there = There(database)
    await there.start()
    return there


async def open_fleet(
    config: Config,
    database: Database,
    ingest: Ingest,
    drain: Drain,
    journal: Journal,
    tokens: TokenFile,
    clock: Clock,
    on_fatal: OnFatal,
    there: There | None,
    aggregator: Aggregator,
    keeper: TermsKeeper,
    archived: Archived,
    files: EdgeFiles | None,
) -> Fleet:
    """Return the parts, none of which does anything by itself yet.

    Raises:
        ConfigError: certificates cannot be read, or the ledger is no edge's.
    """
    centre = config.centre
    edge = await _edge_id(database, is_edge=config.is_edge)
    if edge is not None:
        await _check_forwards(database, centre.forward)
        edge_tls(centre)  # what is wrong is said now, and read again at each try
        forwarder = Forwarder(
            *(database, ingest, drain, centre),
            edge=edge,
            clock=clock,
            archived=archived,
            there=there,
            filing=None if files is None else Filing(database, files),
        )
        return Fleet(forwarder=forwarder)
    if config.sidecar.role != "centre":
        return Fleet()
    assert centre.listen is not None, "checked where the file is read"
    chain = ChainFiles(config.sidecar.database)
    edges = Edges(
        *(database, journal),
        clock=clock,
        is_valid=credentials_of(tokens),
        check=partial(check_newest, chain=chain) if database.others_write else None,
        name=centre.own_name,
    )
    await edges.follow_ledger()
    noted = NotedFiles(database, journal)
    await noted.start(edges.all())
    countings = Countings(database, edges)
    aggregator.count_with(countings)
    keeper.on_change(countings.follow)
    door = Door(
        *(ingest, edges, countings, noted, centre.listen),
        tls=centre_tls(centre),
        needs_certificate=centre.client_ca is not None,
        tokens=tokens,
        clock=clock,
        on_fatal=on_fatal,
    )
    return Fleet(edges=edges, door=door)


async def _check_forwards(database: Database, forward: str) -> None:
    """Make sure that an edge sends what it always has.

    Raises:
        ConfigError: it has sent something else, which would count a second time.
    """
    async with database.transaction() as tx:
        before = await facts.get_fact(tx, FORWARDS)
        if before is None:
            is_new = (await marks(tx)).batch_id == 0
            before = forward if is_new else "events"
            await facts.put_fact(tx, FORWARDS, before)
    if before != forward:
        raise ConfigError(
            f"this ledger has forwarded {before}, and what it holds would count twice"
            f' with centre.forward = "{forward}": leave it as it was; or stop the edge'
            " once nothing waits, and start it with a sidecar.database that is not there"
            " yet"
        )


async def _edge_id(database: Database, *, is_edge: bool) -> str | None:
    """Return which edge a ledger is; the first time it is made up.

    Raises:
        ConfigError: the ledger has billed, or was an edge's and is to bill now: events
            would be billed twice.
    """
    async with database.reading() as tx:
        edge = await facts.get_fact(tx, EDGE_ID)
        has_billed = bool(await final_ends(tx))
        took_external = await facts.get_fact(tx, OWN_PRODUCER) is not None
    if edge is not None:
        if not is_edge:
            raise ConfigError(
                "this ledger is an edge's, whose events are billed at its centre: set"
                ' sidecar.role = "edge", or another sidecar.database'
            )
        return edge
    if not is_edge:
        return None
    if has_billed or took_external:
        what = "has final invoices" if has_billed else "took in events over HTTP"
        raise ConfigError(
            f"this ledger {what}, and cannot become an edge's: set sidecar.database to a"
            " file that is not there yet; keep this one as it is, for what it has billed"
        )
    edge = secrets.token_hex(16)
    async with database.transaction() as tx:
        await facts.put_fact(tx, EDGE_ID, edge)
    return edge
