"""Puts the sidecar together: which parts there are, and in which order they open."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from typing import Final

from meterline_sidecar.access.portal_key import portal_key
from meterline_sidecar.access.secret import SecretSource
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.alerts.delivery import EVERY_S as DELIVER_EVERY_S
from meterline_sidecar.alerts.delivery import AlertDelivery
from meterline_sidecar.alerts.rules import DAYS_EVERY_S as ALERT_DAYS_EVERY_S
from meterline_sidecar.alerts.rules import Alerts
from meterline_sidecar.billing.consequences import of_terms
from meterline_sidecar.billing.running_totals import EVERY_S as STANDINGS_EVERY_S
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon import by_clock, memory
from meterline_sidecar.daemon.assemble_archive import (
    open_edge_files,
    open_keeping,
)
from meterline_sidecar.daemon.assemble_billing import open_billing
from meterline_sidecar.daemon.assemble_fleet import open_fleet, open_leading, open_there
from meterline_sidecar.daemon.assemble_intake import open_intake
from meterline_sidecar.daemon.assemble_stripe import collect_through, open_stripe
from meterline_sidecar.daemon.reload import AUTHOR, LoadedFiles, log_agreed
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.fleet.questions import LOOK_EVERY_S as QUESTIONS_EVERY_S
from meterline_sidecar.fleet.shared_tokens import SharedTokens
from meterline_sidecar.fleet.sources import Sources
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.one_key import check_key
from meterline_sidecar.ledger.rescue import rescuing
from meterline_sidecar.ledger.seals import SealingDatabase
from meterline_sidecar.ledger.shelves import open_archived
from meterline_sidecar.ledger.verify import alarm_at_start, check_goes_on
from meterline_sidecar.schedule import Job, Schedule
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.journal import newest_link
from meterline_sidecar.store.open import Place, open_ledger
from meterline_sidecar.store.port import Database, Ledger, Readable
from meterline_sidecar.terms import sign_ups
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import MeterChange
from meterline_sidecar.terms.diff import Diff
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsKeeper, TermsRefused
from meterline_sidecar.usage.days_over import DAYS_EVERY_S, DaysOver
from meterline_sidecar.web.parts import Parts

CHECKPOINT_EVERY_S: Final = 30
WEBHOOKS_EVERY_S: Final = 1
RECONCILE_EVERY_S: Final = 10  # to see whether it is due
METERS_EVERY_S: Final = 3_600
DRAIN_EVERY_S: Final = 5
PLACES_EVERY_S: Final = 2
ARCHIVE_EVERY_S: Final = 3_600
ARCHIVE_WATCH_EVERY_S: Final = 60  # to see whether a look at the files is due
FILES_EVERY_S: Final = 60  # to see whether an edge's hour is over, and at its centre
PACK_EVERY_S: Final = 60
IMPORTS_EVERY_S: Final = 1
FOLLOW_EVERY_S: Final = 1
ERASE_EVERY_S: Final = 600
"""To go on with what was interrupted: at the start, above all."""
CLOSE_EVERY_S: Final = 1  # to see whether anybody asks, or a period's grace is over
COUNT_AT_STOP_S: Final = 2.0
"""Who stops us waits 10 s or so; what is not counted by then is at the next start."""

OnFatal = Callable[[BaseException], None]
"""Called once with an error after which the process must end."""

log = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def open_parts(
    config: Config, *, clock: Clock, tokens: TokenFile, on_fatal: OnFatal
) -> AsyncGenerator[Parts]:
    """Open every part in order, and close them the other way round."""
    chain = ChainFiles(config.sidecar.database)
    async with (
        _opened_ledger(config.ledger, config.sidecar.database, chain) as database,
        open_leading(config, database) as leading,
    ):
        if config.server is not None:
            await SharedTokens(tokens, database).run()
        alarm = await _alarm(database, chain)
        journal = await open_journal(database, chain)
        keeper = await _open_terms(database, journal, config, clock, leading)
        files = LoadedFiles(config, keeper, database, leading)
        config = files.config  # without the customers: they are terms by now
        key = chain.key(has_batches=True)  # it is read already
        away = open_archived(config.archive, key)
        there = await open_there(config, database)
        intake = await open_intake(
            *(config, database, chain, away, keeper, journal, clock),
            key=key,
            leading=leading,
            there=there,
            on_fatal=on_fatal,
        )
        among = (intake.ingest, intake.drain, journal, tokens, clock, on_fatal, there)
        filed = open_edge_files(config, database, away, journal, clock, alarm)
        counts = (intake.aggregator, keeper)
        fleet = await open_fleet(config, database, *among, *counts, away, filed)
        given = (*counts, Sources(intake.drain, fleet.edges), journal, clock)
        bills = open_billing(lambda: files.config, database, *given, alarm=alarm)
        terms = keeper.terms
        kept = (files, database, away, journal, terms, clock, fleet.edges, fleet.filing)
        keeping = open_keeping(*kept, alarm=alarm, ingest=intake.ingest)
        sealing = await _open_seals(database, chain)
        stripe = open_stripe(lambda: files.config, sealing, terms=terms, clock=clock)
        parts = Parts(
            files=files,
            clock=clock,
            started_ms=clock.now_ms(),
            alarm=alarm,
            database=database,
            leading=leading,
            terms=keeper,
            sign_ups=sign_ups.SignUps(database, keeper, clock=clock),
            schedule=Schedule(clock=clock, on_fatal=on_fatal),
            on_fatal=on_fatal,
            tokens=tokens,
            portal_key=portal_key(config.portal_key_file),
            stripe=stripe,
            at_stripe=collect_through(stripe, sealing, bills, files, terms, clock),
            **keeping._asdict(),
            **bills.parts(),
            **intake._asdict(),
            **fleet._asdict(),
        )
        files.on_config(bills.use)
        async with _at_work(parts, files, database, chain):
            yield parts


async def _alarm(database: Ledger, chain: ChainFiles) -> str | None:
    """Return why the ledger is not trusted, and say so, if it is not."""
    alarm = await alarm_at_start(database, chain)
    if alarm is not None:
        log.error("nothing is billed: %s; run `meterline verify`", alarm)
    return alarm


@contextlib.asynccontextmanager
async def _opened_ledger(
    ledger: Place, path: Path, chain: ChainFiles
) -> AsyncGenerator[Ledger]:
    """Open the ledger, and save what it holds if its files are taken away."""
    # No configuration is given: its customers would stay, and may be 20 MiB.
    database = await open_ledger(ledger)
    try:
        async with rescuing(database, path, chain):
            yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def _at_work(
    parts: Parts, files: LoadedFiles, database: Ledger, chain: ChainFiles
) -> AsyncGenerator[None]:
    """Plan the jobs of all parts; at the end store what has arrived, and count it."""
    checkpoint = partial(_checkpoint, database, chain)
    # Before anybody reads, so that the file alone is whole: see `alarm_at_start`.
    await checkpoint()
    _plan_jobs(parts, checkpoint)
    parts.schedule.every(memory.EVERY_S, "memory", partial(memory.rest, database))
    if not parts.config.is_edge:
        _plan_jobs_of_leader(parts)
        _plan_alerts(parts, files)
    if not parts.leading.is_alone:
        _plan_following(parts, files, partial(check_goes_on, database, chain))
    files.on_config(parts.stripe.use)
    try:
        yield
        await parts.ingest.drain()
        # A step that is cut off is there as a whole or not at all.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(COUNT_AT_STOP_S):
                count = partial(parts.aggregator.run, beside=False)
                await parts.leading.only(count)()
        await checkpoint()
    finally:
        await parts.stripe.close()


async def _open_terms(
    database: Database,
    journal: Journal,
    config: Config,
    clock: Clock,
    leading: Leading,
) -> TermsKeeper:
    """Return what was agreed, with what the files say now.

    Where another process leads, its files say it.

    Raises:
        ConfigError: they say what must not be.
    """
    keeper = TermsKeeper(database, journal, clock=clock)
    await keeper.start()
    if not leading.is_leader:
        return keeper
    diff = await keeper.preview(wanted_of(config))
    money = await _money(database, keeper.terms, diff)
    try:
        await keeper.agree(diff, author=AUTHOR)
    except TermsRefused as error:
        raise ConfigError(str(error)) from error
    log_agreed(diff.told, money)
    return keeper


async def _money(database: Readable, terms: Terms, diff: Diff) -> tuple[str, ...]:
    """Return in words what a difference does to money, as far as it is soon said."""
    if not terms.is_empty and any(
        isinstance(planned.change, MeterChange) and planned.from_ms < diff.at_ms
        for planned in diff.planned
    ):
        # All events would be read while apps wait for the socket.
        return ("what meters that are counted again do to money is not compared",)
    return tuple((await of_terms(database, terms, diff, reads_events=False)).lines())


def _plan_jobs(parts: Parts, checkpoint: Job) -> None:
    every = parts.schedule.every
    count = parts.leading.only(parts.aggregator.run)
    every(parts.config.sidecar.aggregate_every_s, "aggregate", count)
    every(DRAIN_EVERY_S, "drain", parts.drain.run)
    every(PLACES_EVERY_S, "places", partial(_check_places, parts))
    every(CHECKPOINT_EVERY_S, "checkpoint", checkpoint, at_once=False)
    every(ARCHIVE_WATCH_EVERY_S, "archive files", parts.archive_watch.run)
    if parts.packer is not None and parts.alarm is None:
        every(PACK_EVERY_S, "pack", parts.packer.run)
    if parts.config.is_edge:
        every(ERASE_EVERY_S, "erase", parts.eraser.resume)
    if parts.forwarder is not None and parts.forwarder.filing is not None:
        every(FILES_EVERY_S, "files", parts.forwarder.filing.run)
    if parts.config.retention.events is not None:
        every(
            ARCHIVE_EVERY_S,
            "archive",
            parts.leading.only(partial(by_clock.archive, parts)),
        )


def _plan_jobs_of_leader(parts: Parts) -> None:
    """Plan what one does of all that share a ledger, and no edge."""
    stripe = parts.stripe

    def every(seconds: float, name: str, job: Job) -> None:
        parts.schedule.every(seconds, name, parts.leading.only(job))

    every(ERASE_EVERY_S, "erase", parts.eraser.resume)
    if parts.alarm is None:
        every(parts.config.stripe.report_every_s, "report", stripe.report)
        tell = partial(_tell_invoices, parts)
        every(parts.config.stripe.report_every_s, "invoices", tell)
        over = DaysOver(parts.database, parts.terms.terms, clock=parts.clock)
        every(DAYS_EVERY_S, "pack days", over.run)
    every(WEBHOOKS_EVERY_S, "webhooks", stripe.webhooks.process)
    every(RECONCILE_EVERY_S, "reconcile", stripe.reconcile_if_due)
    every(METERS_EVERY_S, "meters", stripe.check_meters)
    # Everybody shows them.
    parts.schedule.every(STANDINGS_EVERY_S, "standings", parts.standings.refresh)
    every(sign_ups.EVERY_S, "sign-ups", parts.sign_ups.run)
    every(IMPORTS_EVERY_S, "imports", partial(by_clock.import_, parts))
    every(CLOSE_EVERY_S, "close", partial(by_clock.close, parts))


def _plan_following(parts: Parts, files: LoadedFiles, goes_on: Job) -> None:
    """Have a process know what others write, and begin to lead with all of it."""

    async def follow() -> None:
        await goes_on()
        await parts.terms.follow_ledger()
        await parts.standings.follow_ledger()
        if parts.edges is not None:
            await parts.edges.follow_ledger()
        if not parts.leading.is_leader:
            # Whoever closes knows what waits.
            parts.closer.held.clear()
            parts.closer.in_grace.clear()

    parts.schedule.every(FOLLOW_EVERY_S, "follow", follow)
    shared = SharedTokens(parts.tokens, parts.database)
    parts.schedule.every(FOLLOW_EVERY_S, "tokens", shared.run)
    parts.schedule.every(QUESTIONS_EVERY_S, "questions", parts.raw_events.answer)
    for work in (
        goes_on,
        parts.terms.lead,
        follow,
        parts.standings.lead,
        parts.stripe.lead,
        files.look,
    ):
        parts.leading.when_elected(work)


def _plan_alerts(parts: Parts, files: LoadedFiles) -> None:
    config, clock, only = parts.config, parts.clock, parts.leading.only

    def every(seconds: float, name: str, job: Job) -> None:
        parts.schedule.every(seconds, name, only(job))

    url = config.alerts.webhook_url
    alerts = Alerts(
        parts.database,
        parts.billing,
        parts.customers,
        config.alert_rules,
        names=config.names,
        clock=clock,
        is_told=url is not None,
    )
    alerts.watch(parts.standings, leads=parts.leading.leads)
    files.on_config(lambda found: alerts.use(found.alert_rules, found.names))
    every(ALERT_DAYS_EVERY_S, "alerts", alerts.look_at_days)
    if url is not None:
        secret = SecretSource(
            file=config.alerts.secret_file,
            setting="alerts.secret_file",
            variable="METERLINE_ALERTS_SECRET",
            credential="alerts_secret",
        )
        delivery = AlertDelivery(parts.database, url, secret=secret.read, clock=clock)
        every(DELIVER_EVERY_S, "alert webhooks", delivery.run)


async def open_journal(database: Ledger, chain: ChainFiles) -> Journal:
    """Return the journal of what money stands in; it takes in what is older than it."""
    async with database.reading() as tx:
        marks = await event_store.marks(tx)
        is_used = marks.batch_id > 0 or await newest_link(tx) is not None
    key = chain.key(has_batches=is_used)
    await check_key(database, chain, key)
    journal = Journal(key)
    async with database.transaction() as tx:
        await journal.adopt(tx)
    return journal


async def _open_seals(database: Ledger, chain: ChainFiles) -> SealingDatabase:
    """Return the ledger for those who write what Stripe is told, under seals."""
    async with database.reading() as tx:
        marks = await event_store.marks(tx)
    sealing = SealingDatabase(database, chain.key(has_batches=marks.batch_id > 0))
    await sealing.adopt()
    return sealing


async def _tell_invoices(parts: Parts) -> None:
    """Plan what Stripe is to be told of final invoices, and tell it."""
    await parts.at_stripe.run()
    if parts.config.stripe.mode == "send" and parts.stripe.invoicer is not None:
        await parts.stripe.invoicer.run()


async def _check_places(parts: Parts) -> None:
    """See that ledger and socket are reached by their paths, also when nothing comes."""
    parts.database.check_places()
    parts.receiver.check_place()


async def _checkpoint(database: Ledger, chain: ChainFiles) -> None:
    """Fold the WAL into the database, and note outside of it how far the chain is."""
    await check_goes_on(database, chain)
    await database.checkpoint()
    async with database.reading() as tx:
        marks = await event_store.marks(tx)
    if marks.mac is not None:
        head = Head(marks.batch_id, marks.mac)
        chain.write_head(head, durably=True)
        chain.write_newest(head)
