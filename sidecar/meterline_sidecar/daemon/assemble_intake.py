"""Puts together what takes events in, whoever they are from, and what counts them."""

from collections.abc import Callable
from typing import NamedTuple

from meterline_sidecar.clock import HOUR_MS, AbsenceWatch, Clock, JumpWatch, SystemClock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.fleet.there import There
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ingest.corrections import Corrections
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.external import External
from meterline_sidecar.ingest.held import Held
from meterline_sidecar.ingest.imports import Imports
from meterline_sidecar.ingest.late import Late
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ingest.whose import Whose
from meterline_sidecar.ingest.writer import PACKED_FROM
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.chain import ChainFiles, ledger_number
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.port import Database, Ledger
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.usage.aggregate import Aggregator

OnFatal = Callable[[BaseException], None]


class Intake(NamedTuple):
    """The parts that events come in by."""

    watch: JumpWatch | None
    """Watches the clock; not one that somebody sets on purpose."""
    absence: AbsenceWatch | None
    """Likewise."""
    ingest: Ingest
    held: Held
    external: External
    aggregator: Aggregator
    corrections: Corrections
    late: Late
    imports: Imports
    drain: Drain
    receiver: Receiver


async def open_intake(
    config: Config,
    database: Ledger,
    chain: ChainFiles,
    away: Archived,
    keeper: TermsKeeper,
    journal: Journal,
    clock: Clock,
    *,
    key: bytes,
    leading: Leading,
    there: There | None,
    on_fatal: OnFatal,
) -> Intake:
    """Return the parts, none of which takes anything yet.

    Args:
        away: the events that left the ledger.
        key: of the chain.
        leading: whether this process does by itself what one of several does.
        there: what a centre has, where spools are freed only by that.
    """
    watch, absence = await _watches(clock, database)
    ingest = await _open_ingest(
        *(config, database, chain, keeper.terms, clock, watch), key=key
    )
    leads = leading.leads
    held = Held(database, ingest, journal, clock=clock, watch=watch, leads=leads)
    external = External(database, ingest, clock=clock, watch=watch, key=key)
    aggregator = await _counting(config, database, keeper, held, away, clock)
    given = (database, ingest, journal, aggregator)
    corrections = Corrections(*given, clock=clock, leads=leads)
    late = Late(database, corrections, journal, clock=clock)
    aggregator.when_counted(late.screen)
    drain, receiver = _doors(config, ingest, on_fatal, key=key, there=there)
    return Intake(
        watch,
        absence,
        ingest,
        held,
        external,
        aggregator,
        corrections,
        late,
        Imports(database, external, journal, clock=clock, key=key),
        drain,
        receiver,
    )


def _doors(
    config: Config,
    ingest: Ingest,
    on_fatal: OnFatal,
    *,
    key: bytes,
    there: There | None,
) -> tuple[Drain, Receiver]:
    """Return what takes in the events of dead workers, and those of the living."""
    sidecar = config.sidecar
    spool_dir, uids = sidecar.spool_dir, sidecar.allowed_uids
    whose = Whose(ledger_number(key), takes_over=sidecar.takes_over)
    return (
        Drain(spool_dir, ingest, whose=whose, uids=uids, elsewhere=there),
        Receiver(
            ingest,
            sidecar.socket,
            uids=uids,
            on_fatal=on_fatal,
            whose=whose,
            spool_dir=spool_dir,
            elsewhere=there,
        ),
    )


async def _watches(
    clock: Clock, database: Ledger
) -> tuple[JumpWatch | None, AbsenceWatch | None]:
    """Return what looks out for jumps of the clock; nothing where it is no real one."""
    if not isinstance(clock, SystemClock):
        return None, None
    return JumpWatch(clock), AbsenceWatch(clock, await _last_known_ms(database))


async def _last_known_ms(database: Ledger) -> int | None:
    """Return when events were last learned of, or counted; ``None``: never.

    Not what was agreed: the files are loaded already, by the clock of now.
    """
    async with database.reading() as tx:
        served = await newest_generation(tx)
        last = await event_log.learned_last_ms(tx)
    times = (last, served and served.last_success_ms)
    return max((at_ms for at_ms in times if at_ms), default=None)


async def _open_ingest(
    config: Config,
    database: Ledger,
    chain: ChainFiles,
    terms: Terms,
    clock: Clock,
    watch: JumpWatch | None,
    *,
    key: bytes,
) -> Ingest:
    """Return what stores events, with the chain continued where it ended."""
    committer = Committer(
        database,
        clock=clock,
        key=key,
        history_of=lambda name: terms.claims.history(name),
        learn=terms.catch_up,
        keys_kept_ms=config.sidecar.idempotency_key_hours * HOUR_MS,
        packed_from=PACKED_FROM if config.server is None else None,
    )
    await committer.start()
    return Ingest(database, committer, clock=clock, chain=chain, watch=watch)


async def _counting(
    config: Config,
    database: Database,
    keeper: TermsKeeper,
    held: Held,
    archived: Archived,
    clock: Clock,
) -> Aggregator:
    """Return what counts, ready to go on where it was, and by what is agreed later."""
    aggregator = Aggregator(
        database,
        keeper.terms,
        clock=clock,
        release=held.release,
        read_events=archived.events_after,
        values_max=config.properties.values_max,
    )
    await aggregator.start()
    keeper.on_change(aggregator.follow)
    return aggregator
