"""Puts the sidecar together and runs it: the one place that picks implementations."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from meterline_sidecar.access.portal_key import portal_key
from meterline_sidecar.access.secret import SecretSource
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.alerts.delivery import EVERY_S as DELIVER_EVERY_S
from meterline_sidecar.alerts.delivery import AlertDelivery
from meterline_sidecar.alerts.rules import DAYS_EVERY_S as ALERT_DAYS_EVERY_S
from meterline_sidecar.alerts.rules import Alerts
from meterline_sidecar.billing.drafts import Billing
from meterline_sidecar.billing.invoices import Invoices
from meterline_sidecar.billing.running_totals import EVERY_S as STANDINGS_EVERY_S
from meterline_sidecar.billing.running_totals import Standings
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import (
    AlreadyRunning,
    ConfigError,
    DatabaseCorrupt,
    MeterlineError,
)
from meterline_sidecar.files import LedgerFiles, ProcessLock
from meterline_sidecar.ingest.accept import Ingest
from meterline_sidecar.ingest.commit import Committer
from meterline_sidecar.ingest.dead_spools import Drain
from meterline_sidecar.ingest.receiver import Receiver
from meterline_sidecar.ledger.chain import ChainFiles, Head
from meterline_sidecar.ledger.quarantine import quarantine
from meterline_sidecar.ledger.verify import alarm_at_start
from meterline_sidecar.schedule import Job, Schedule
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.sqlite.driver import SqliteDatabase
from meterline_sidecar.stripe.meter_events import AGE_MS_MAX
from meterline_sidecar.stripe.service import open_stripe
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.customers import CustomerIndex, CustomerMap
from meterline_sidecar.web.app import make_app
from meterline_sidecar.web.guard import HEADER_BYTES_MAX
from meterline_sidecar.web.parts import Parts

CHECKPOINT_EVERY_S: Final = 30
WEBHOOKS_EVERY_S: Final = 1
RECONCILE_EVERY_S: Final = 10  # to see whether it is due
METERS_EVERY_S: Final = 3_600
DRAIN_EVERY_S: Final = 5
DIRECTORY_MODE: Final = 0o750
SHARED_DIRECTORY_MODE: Final = 0o2770  # what is made in it belongs to its group
UMASK: Final = 0o027  # nothing that we make is for everybody
HTTP_BACKLOG: Final = 128
HTTP_REQUESTS_MAX: Final = 256  # open at once; beyond that the answer is 503
SWITCH_S: Final = 0.000_5
"""How long a thread of the database may keep the interpreter while the loop waits:
Python's own 5 ms stand before every answer that takes several queries."""
STOP_TIMEOUT_S: Final = 5  # open HTTP requests may finish

OnFatal = Callable[[BaseException], None]

log = logging.getLogger(__name__)


async def run(config: Config, *, clock: Clock) -> None:
    """Run the sidecar until SIGTERM or SIGINT; then store what has arrived, and end.

    Raises:
        AlreadyRunning: another process holds the database, the socket or the port.
        ConfigError: HTTP would need a token, and there is none.
        MeterlineError: the ledger can not be opened, or the disk failed meanwhile.
    """
    stop = asyncio.Event()
    fatal: list[BaseException] = []

    def on_fatal(error: BaseException) -> None:
        fatal.append(error)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    os.umask(UMASK)
    sys.setswitchinterval(SWITCH_S)
    _make_directories(config)
    tokens = TokenFile(LedgerFiles(config.sidecar.database).tokens)
    _check_tokens(config, tokens)
    with _lock_database(config.sidecar.database):
        try:
            async with open_parts(config, clock, tokens, on_fatal) as parts:
                await _serve(parts, stop, on_fatal)
                if fatal:  # in here: a disk that failed is not written to any more
                    raise fatal[0]
        except DatabaseCorrupt as error:
            folder = quarantine(config.sidecar.database)
            raise DatabaseCorrupt(
                f"{error}\nNothing is billed from a damaged ledger. A copy is in"
                f" {folder}; `meterline verify` says what is missing, docs/backup.md"
                " how to restore a backup. The apps keep their events meanwhile."
            ) from error


@contextlib.asynccontextmanager
async def open_parts(
    config: Config, clock: Clock, tokens: TokenFile, on_fatal: OnFatal
) -> AsyncGenerator[Parts]:
    """Open every part in order, and close them the other way round."""
    database = await SqliteDatabase.open(config.sidecar.database)
    try:
        customers = CustomerMap(config.customers)
        await customers.apply(database, reported_since_ms=clock.now_ms() - AGE_MS_MAX)
        chain = ChainFiles(database.path)
        alarm = await alarm_at_start(database, chain)
        if alarm is not None:
            log.error("nothing is billed: %s; run `meterline verify`", alarm)
        ingest = await _open_ingest(database, chain, customers, clock)
        aggregator = Aggregator(
            database, [meter.meter for meter in config.meters], clock=clock
        )
        await aggregator.start()
        schedule = Schedule(clock=clock, on_fatal=on_fatal)
        receiver = Receiver(
            ingest,
            config.sidecar.socket,
            uids=config.sidecar.allowed_uids,
            on_fatal=on_fatal,
        )

        checkpoint = partial(_checkpoint, database, chain)
        stripe = open_stripe(config, database, clock=clock, environ=os.environ)
        billing = Billing(database, aggregator, config)
        index = CustomerIndex(config.customers)
        standings = Standings(database, aggregator, billing, index, clock=clock)
        parts = Parts(
            config=config,
            clock=clock,
            started_ms=clock.now_ms(),
            alarm=alarm,
            database=database,
            ingest=ingest,
            receiver=receiver,
            aggregator=aggregator,
            billing=billing,
            invoices=Invoices(database, billing, aggregator, clock=clock, alarm=alarm),
            standings=standings,
            schedule=schedule,
            customers=index,
            tokens=tokens,
            portal_key=portal_key(config.portal_key_file),
            stopping=asyncio.Event(),
            stripe=stripe,
            drain=Drain(config.sidecar.spool_dir, ingest),
        )
        _plan_jobs(parts, checkpoint)
        try:
            yield parts
            await ingest.drain()
            await aggregator.run()
            await checkpoint()
        finally:
            await stripe.close()
    finally:
        await database.close()


def _plan_jobs(parts: Parts, checkpoint: Job) -> None:
    every, stripe = parts.schedule.every, parts.stripe
    every(parts.config.sidecar.aggregate_every_s, "aggregate", parts.aggregator.run)
    if parts.alarm is None:
        every(parts.config.stripe.report_every_s, "report", stripe.report)
    every(WEBHOOKS_EVERY_S, "webhooks", stripe.webhooks.process)
    every(RECONCILE_EVERY_S, "reconcile", stripe.reconcile_if_due)
    every(METERS_EVERY_S, "meters", stripe.look_at_meters)
    every(DRAIN_EVERY_S, "drain", parts.drain.run)
    every(STANDINGS_EVERY_S, "standings", parts.standings.refresh)
    _plan_alerts(parts)
    every(CHECKPOINT_EVERY_S, "checkpoint", checkpoint)


def _plan_alerts(parts: Parts) -> None:
    config, every = parts.config, parts.schedule.every
    url = config.alerts.webhook_url
    alerts = Alerts(
        parts.database,
        parts.billing,
        config.customers,
        config.alert_rules,
        clock=parts.clock,
        is_told=url is not None,
    )
    alerts.watch(parts.standings)
    every(ALERT_DAYS_EVERY_S, "alerts", alerts.look_at_days)
    if url is not None:
        secret = SecretSource(
            file=config.alerts.secret_file,
            variable="METERLINE_ALERTS_SECRET",
            credential="alerts_secret",
        )
        delivery = AlertDelivery(
            parts.database, url, secret=secret.read, clock=parts.clock
        )
        every(DELIVER_EVERY_S, "alert webhooks", delivery.run)


async def _serve(parts: Parts, stop: asyncio.Event, on_fatal: OnFatal) -> None:
    """Serve both sockets until ``stop``."""
    listener = _bind(parts.config.sidecar.http)
    server = _HttpServer(
        uvicorn.Config(
            make_app(parts),
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",  # httptools, where somebody has it, takes headers of any size
            server_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            limit_concurrency=HTTP_REQUESTS_MAX,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
    )

    async def ingesting() -> None:
        try:
            await parts.ingest.run()
        except MeterlineError as error:
            on_fatal(error)

    try:
        async with parts.receiver, asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(ingesting())
            answering = tasks.create_task(server.serve([listener]))
            parts.schedule.start()
            log.info("events: %s", parts.config.sidecar.socket)
            log.info("ledger: %s", parts.config.sidecar.database)
            log.info("http: %s", _address(listener))
            await stop.wait()
            log.info("stopping")
            await parts.stripe.stop(timeout_s=STOP_TIMEOUT_S)
            parts.schedule.stop()
            parts.stopping.set()
            server.should_exit = True
            await asyncio.wait([answering])
            committing.cancel()
    finally:
        listener.close()


def _check_tokens(config: Config, tokens: TokenFile) -> None:
    """Refuse to open the API to a network in which nobody could be told apart."""
    if config.needs_token and not tokens.all():
        raise ConfigError(
            f"sidecar.http = {config.sidecar.http} needs a token, and there is none:"
            " make one with `meterline token create NAME --scope read`"
        )


class _HttpServer(uvicorn.Server):
    """uvicorn without signal handlers: the daemon has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone."""
        yield


def _bind(address: str) -> socket.socket:
    """Return a listening socket.

    Raises:
        AlreadyRunning: somebody listens there already.
    """
    path = address.removeprefix("unix:")
    try:
        if path != address:
            Path(path).unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(path)
            Path(path).chmod(0o660)
        else:
            host, _, port = address.rpartition(":")
            family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
            # Named, or asyncio would not see that it is TCP and leave Nagle's
            # algorithm on: 40 ms for every answer in two parts.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host.strip("[]"), int(port)))
    except OSError as error:
        raise AlreadyRunning(
            f"cannot listen on {address}: {error.strerror}; stop what listens there,"
            " or set sidecar.http to another address"
        ) from error
    listener.listen(HTTP_BACKLOG)
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def _make_directories(config: Config) -> None:
    """Make the directories of database and socket, and a spool that users share.

    Raises:
        MeterlineError: one can not be made.
    """
    sidecar = config.sidecar
    folders = {
        "database": sidecar.database.parent,
        "socket": sidecar.socket.parent,
        "spool_dir": sidecar.spool_dir.parent,
    }
    for key, folder in folders.items():
        with _explained(folder, key):
            folder.mkdir(parents=True, exist_ok=True, mode=DIRECTORY_MODE)
    if sidecar.allowed_uids and not sidecar.spool_dir.exists():
        with _explained(sidecar.spool_dir, "spool_dir"):
            sidecar.spool_dir.mkdir()
            sidecar.spool_dir.chmod(SHARED_DIRECTORY_MODE)


@contextlib.contextmanager
def _explained(folder: Path, key: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise MeterlineError(
            f"cannot make the directory {folder}: {error.strerror}; make it for"
            f" this user, or set sidecar.{key} to another place"
        ) from error


@contextlib.contextmanager
def _lock_database(path: Path) -> Generator[None]:
    lock = ProcessLock.take(LedgerFiles(path).lock, guards=f"the database {path}")
    try:
        yield
    finally:
        lock.release()


async def _open_ingest(
    database: SqliteDatabase, chain: ChainFiles, customers: CustomerMap, clock: Clock
) -> Ingest:
    """Return what stores events, with the chain continued where it ended."""
    async with database.reading() as tx:
        marks = await event_store.marks(tx)
    committer = Committer(
        database,
        clock=clock,
        key=chain.key(has_batches=marks.batch_id > 0),
        customer_of=customers.customer_of,
    )
    await committer.start()
    return Ingest(database, committer, clock=clock, chain=chain)


async def _checkpoint(database: SqliteDatabase, chain: ChainFiles) -> None:
    """Fold the WAL into the database, and note outside of it how far the chain is."""
    await database.checkpoint()
    async with database.reading() as tx:
        marks = await event_store.marks(tx)
    if marks.mac is not None:
        chain.write_head(Head(marks.batch_id, marks.mac), durably=True)
