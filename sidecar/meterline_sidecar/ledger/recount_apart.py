"""Adds usage up again in a process of its own, while this one recomputes the chain.

It reads a snapshot of its own: what it compares is all of one moment, and so is what is
compared here.
"""

import asyncio
import os
import signal
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Self

from meterline_sidecar.ledger.away import Away
from meterline_sidecar.ledger.garbage import seldom_collected
from meterline_sidecar.ledger.recount import verify_usage
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.open import open_reader
from meterline_sidecar.store.port import Tx

EVENTS_MIN: Final = 300_000  # fewer are added up sooner than a process has started


async def is_worth_it(tx: Tx) -> bool:
    """Say whether there are many events, all of them here, and a core without work."""
    n_events = (await event_store.marks(tx)).event_id
    is_whole = (await begin(tx)).event_id == 0
    return is_whole and n_events >= EVENTS_MIN and len(os.sched_getaffinity(0)) > 1


class RecountApart:
    """Another process that adds usage up; it ends with its block."""

    def __init__(self, path: Path) -> None:
        context = get_context("spawn")  # a fork would have our connections
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_recount, args=(path, sender), daemon=True
        )
        self._process.start()
        sender.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        self._process.join()

    async def found(self) -> Report | None:
        """Return what it found; ``None``: it died, or cannot tell."""
        try:
            found = await asyncio.to_thread(self._receiver.recv)
        except EOFError:
            return None
        return found if isinstance(found, Report) else None


def _recount(path: Path, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asked for it is told of that
    with suppress(Exception), sender:  # then the other process looks by itself
        sender.send(asyncio.run(_recounted(path)))


async def _recounted(path: Path) -> Report | None:
    report = Report()
    reader = await open_reader(path)
    try:
        async with reader.reading() as tx:
            away = Away(await begin(tx))
            if away.begin.event_id:
                return None
            with seldom_collected():
                await verify_usage(tx, report, _quiet, away=away, archived=None)
    finally:
        await reader.close()
    return report


def _quiet(_what: str, _done: int, _total: int) -> None:
    """Show nothing: the other process shows how far it is."""
