"""The life of the sidecar's process: from its lock to its last checkpoint."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final

from meterline.settings import STATE_VARIABLE, default_socket, default_spool_dir
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon.assemble import OnFatal, open_parts
from meterline_sidecar.daemon.folders import make_directories, spool_lock
from meterline_sidecar.daemon.listen import HttpServer, address_of, bind
from meterline_sidecar.daemon.memory import give_back, share_one_heap
from meterline_sidecar.errors import ConfigError, DatabaseCorrupt, MeterlineError
from meterline_sidecar.files import LedgerFiles, LedgerLock
from meterline_sidecar.ledger.quarantine import quarantine
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.app import make_app
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.neighbours import Neighbours
from meterline_sidecar.web.parts import Parts

UMASK: Final = 0o027  # nothing that we make is for everybody
SWITCH_S: Final = 0.000_5
"""How long a thread of the database may keep the interpreter while the loop waits:
Python's own 5 ms stand before every answer that takes several queries."""
GARBAGE_OBJECTS: Final = 20_000
"""After how many new objects Python looks for cycles. Of events there are thousands a
second, and no cycles: with Python's own 700 looking takes a tenth of what they cost."""
STOP_TIMEOUT_S: Final = 5  # open HTTP requests may finish
FORWARD_TIMEOUT_S: Final = 5.0  # likewise, what an edge has for its centre

log = logging.getLogger(__name__)


async def run(config: Config, *, clock: Clock) -> None:
    """Run the sidecar until SIGTERM or SIGINT; then store what has arrived, and end.

    SIGHUP has it read its files again, and never ends it.

    Raises:
        AlreadyRunning: another process holds the database, the spools, the socket or
            the port.
        ConfigError: HTTP would need a token, and there is none.
        MeterlineError: the ledger cannot be opened, or the disk failed meanwhile.
    """
    stop, hang_up = asyncio.Event(), asyncio.Event()
    fatal: list[BaseException] = []

    def on_fatal(error: BaseException) -> None:
        fatal.append(error)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up.set)
    os.umask(UMASK)
    share_one_heap()
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(GARBAGE_OBJECTS)
    make_directories(config)
    tokens = TokenFile(
        LedgerFiles(config.sidecar.database).tokens,
        is_shared=config.server is not None,
    )
    if config.server is None:
        _check_tokens(config, tokens)
    with database_lock(config), spool_lock(config.sidecar.spool_dir):
        try:
            # What was read stays. With 100,000 customers a collection that looks at all
            # of it takes half a second, in which nothing is acked.
            gc.freeze()
            async with open_parts(
                config, clock=clock, tokens=tokens, on_fatal=on_fatal
            ) as parts:
                config = parts.config  # nobody holds the customers any more
                _check_tokens(config, tokens)  # or other centres have some
                gc.freeze()
                give_back()
                await _serve(parts, stop, hang_up, on_fatal)
                if fatal:  # in here: a disk that failed is not written to any more
                    raise fatal[0]
        except DatabaseCorrupt as error:
            raise DatabaseCorrupt(
                f"{error}\nNothing is billed from a damaged ledger."
                f" {_put_aside(config.sidecar.database)}; `meterline verify` says what"
                " is missing, and `meterline restore` restores a backup. The apps keep"
                " their events in the meantime."
            ) from error


def _put_aside(database: Path) -> str:
    """Copy a damaged ledger, and return where it is, in words."""
    try:
        return f"A copy is in {quarantine(database)}"
    except OSError as error:
        return f"It could not be copied: {error.strerror}"


async def _serve(
    parts: Parts, stop: asyncio.Event, hang_up: asyncio.Event, on_fatal: OnFatal
) -> None:
    """Serve both sockets until ``stop``; read the files again after each ``hang_up``."""
    listener = bind(parts.config.sidecar.http, file=parts.config.file)
    clients = Clients(parts.config.sidecar.trusted_proxies)
    app = make_app(parts, clients, _neighbours(parts.config))
    server = HttpServer(app, clients=clients, stop_timeout_s=STOP_TIMEOUT_S)

    async def ingesting() -> None:
        try:
            await parts.ingest.run()
        except MeterlineError as error:
            on_fatal(error)

    try:
        async with (
            parts.receiver,
            parts.door or contextlib.nullcontext(),
            asyncio.TaskGroup() as tasks,
        ):
            committing = tasks.create_task(ingesting())
            answering = tasks.create_task(server.serve([listener]))
            reloading = tasks.create_task(_reload_on(hang_up, parts))
            forwarding = tasks.create_task(_forward(parts, on_fatal))
            parts.schedule.start()
            log.info("events: %s", parts.config.sidecar.socket)
            _tell_where_apps_look(parts.config)
            log.info("ledger: %s", parts.config.ledger)
            log.info("http: %s", address_of(listener))
            await stop.wait()
            log.info("stopping")
            parts.database.stopping()
            await parts.stripe.stop(timeout_s=STOP_TIMEOUT_S)
            parts.schedule.stop()
            parts.stopping.set()
            server.stop()
            await asyncio.wait([answering])
            await _send_rest(parts, forwarding)
            committing.cancel()
            reloading.cancel()
    finally:
        listener.close()


def _tell_where_apps_look(config: Config) -> None:
    """Say so where the state directory of the environment is not where things are."""
    places = (
        ("socket", "METERLINE_SOCKET", config.sidecar.socket, default_socket()),
        (
            "spool_dir",
            "METERLINE_SPOOL_DIR",
            config.sidecar.spool_dir,
            default_spool_dir(),
        ),
    )
    for key, variable, place, default in places:
        if (
            STATE_VARIABLE in os.environ
            and variable not in os.environ
            and place != Path(default)
        ):
            log.warning(
                "%s is set, but sidecar.%s is %s, which takes precedence: apps with the"
                " same %s look at %s; remove the key from the file, or set %s for them",
                STATE_VARIABLE,
                key,
                place,
                STATE_VARIABLE,
                default,
                variable,
            )


async def _forward(parts: Parts, on_fatal: OnFatal) -> None:
    if parts.forwarder is None:
        return
    try:
        await parts.forwarder.run()
    except MeterlineError as error:
        on_fatal(error)


async def _send_rest(parts: Parts, forwarding: "asyncio.Task[None]") -> None:
    """Let an edge send what its centre does not have, for a moment.

    What comes meanwhile is stored, and sent at the next start.
    """
    if parts.forwarder is not None:
        parts.forwarder.stop()
        await asyncio.wait([forwarding], timeout=FORWARD_TIMEOUT_S)
        if parts.forwarder.trouble is not None:
            log.info("events that are not at the centre yet are sent at the next start")
    forwarding.cancel()


async def _reload_on(hang_up: asyncio.Event, parts: Parts) -> None:
    while True:
        await hang_up.wait()
        hang_up.clear()
        try:
            found = await parts.files.reload(author="SIGHUP")
        except MeterlineError as error:
            # What is wrong stands in its text: where it arose tells a person nothing.
            log.error("the files were not loaded, and nothing changed: %s", error)  # noqa: TRY400
            continue
        changes = n_of(len(found.changes), "change")
        log.info("the files were loaded: %s", changes)
        for key in found.needs_restart:
            log.warning("%s takes effect at the next start", key)


def _neighbours(config: Config) -> Neighbours | None:
    """Return who is let in without a token, if not everybody who can connect is."""
    if config.needs_token or config.sidecar.http.startswith("unix:"):
        return None  # nobody is; or the socket's file says who can connect
    neighbours = Neighbours()
    if neighbours.can_tell:
        return neighbours
    log.warning(
        "this system does not say whose process connects to %s, so every local user"
        " can read the ledger there; set sidecar.require_token, or sidecar.http to"
        " unix:PATH",
        config.sidecar.http,
    )
    return None


def _check_tokens(config: Config, tokens: TokenFile) -> None:
    """Refuse to open the API to a network in which nobody could be told apart."""
    if config.needs_token and not tokens.all():
        raise ConfigError(
            f"sidecar.http = {config.sidecar.http} needs a token, but there is none:"
            " create one with `meterline token create NAME --scope read`"
        )


def database_lock(config: Config) -> contextlib.ExitStack:
    """Be the one process that writes a ledger, as long as the block lasts.

    Nothing of the configuration is kept meanwhile.

    Raises:
        AlreadyRunning: another process is.
    """
    lock = LedgerLock.take(config.sidecar.database, is_file=config.server is None)
    held = contextlib.ExitStack()
    held.callback(lock.release)
    return held
