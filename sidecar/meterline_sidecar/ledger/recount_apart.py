"""Adds usage up again in a process of its own, while this one recomputes the chain.

It reads a snapshot of its own: what it compares is all of one moment, and so is what is
compared here.
"""

import asyncio
import os
import signal
from contextlib import suppress
from ctypes import c_int64
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Self

from meterline_sidecar.ledger.away import Away
from meterline_sidecar.ledger.garbage import seldom_collected
from meterline_sidecar.ledger.recount import verify_usage
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.open import open_reader
from meterline_sidecar.store.port import Tx

TELL_EVERY_S: Final = 0.2
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
        self._reached = context.RawValue(c_int64, 0)
        self._process = context.Process(
            target=_recount, args=(path, sender, self._reached), daemon=True
        )
        # It inherits that: who asked for it is told of Ctrl-C, and ends it. The tracker
        # comes first, as starting it lets the signal in again.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        sender.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process, whatever it does."""
        self._process.terminate()
        self._process.join()

    async def found(self, progress: Progress, last_event_id: int) -> Report | None:
        """Return what it found; ``None``: it died, or cannot tell.

        Args:
            last_event_id: how far it goes.
        """
        while not await asyncio.to_thread(self._receiver.poll, TELL_EVERY_S):
            progress(
                "usage", min(self._reached.value, last_event_id - 1), last_event_id
            )
        try:
            found = await asyncio.to_thread(self._receiver.recv)
        except EOFError:
            return None
        progress("usage", last_event_id, last_event_id)
        return found if isinstance(found, Report) else None


def _recount(path: Path, sender: Connection, reached: c_int64) -> None:
    with suppress(Exception), sender:  # then the other process looks by itself
        sender.send(asyncio.run(_recounted(path, reached)))


async def _recounted(path: Path, reached: c_int64) -> Report | None:
    def note(_what: str, done: int, _total: int) -> None:
        reached.value = done  # the other process says how far it is

    report = Report()
    reader = await open_reader(path)
    try:
        async with reader.reading() as tx:
            away = Away(await begin(tx))
            if away.begin.event_id:
                return None
            with seldom_collected():
                await verify_usage(tx, report, note, away=away, archived=None)
    finally:
        await reader.close()
    return report
