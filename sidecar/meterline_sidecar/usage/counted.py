"""How far usage is counted: asked of the ledger, in the snapshot that is read.

Counting goes on all the time. Whoever asked anything else than their own snapshot how
far it is could read usage of events beyond what they say it counts.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, NamedTuple, TypeVar

from meterline_sidecar.errors import BeingCorrected
from meterline_sidecar.store import generations, rollups
from meterline_sidecar.store import usage as store
from meterline_sidecar.store.edge import corrections, event_log
from meterline_sidecar.store.port import Readable, Tx
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.screened import is_screened

T = TypeVar("T")
LOOK_AGAIN_S: Final = 0.05
LOOKS_MAX: Final = 600  # half a minute
WAIT: Final = (
    "usage is being corrected, which takes seconds; ask again, and see whether the"
    " sidecar counts: `meterline status`"
)
WINDOW_MS: Final = rollups.WINDOW_MS
"""Of an event's time, unless its subject changed hands in it: see ``fold``."""


class Counted(NamedTuple):
    """How far the usage in one snapshot is counted."""

    generation: int
    """Under which usage is read."""
    up_to_event: int
    """Usage is a function of the events up to this one."""
    as_of_ms: int | None
    """All that was learned by then is counted; ``None`` while nothing is."""
    recounting_percent: int | None
    """How much is counted again, beside what is read; ``None``: nothing is.

    What is read meanwhile is usage as it was counted before.
    """
    known_correction: int = 0
    """The last correction that usage knows, and with it all before; 0: none."""


async def counted(tx: Tx) -> Counted:
    """Return how far usage is counted in this snapshot."""
    newest = await store.newest_generation(tx)
    assert newest is not None, "Aggregator.start() comes first"
    as_of_ms = newest.last_success_ms
    waiting_ms = await event_log.learned_before_ms(tx, newest.cursor)
    if waiting_ms is not None and as_of_ms is not None:
        as_of_ms = min(as_of_ms, waiting_ms) if newest.cursor else None
    beside = await store.generation_beside(tx, newest.id)
    percent = None
    if beside is not None:
        percent = min(99, beside.cursor * 100 // max(newest.cursor, 1))
    known = await corrections.last_known(tx, newest.cursor)
    return Counted(newest.id, newest.cursor, as_of_ms, percent, known)


async def counted_again(tx: Tx) -> tuple[str, ...]:
    """Return the meters that are counted again beside what is read, by name."""
    newest = await store.newest_generation(tx)
    beside = newest and await store.generation_beside(tx, newest.id)
    if newest is None or beside is None:
        return ()
    return decode(newest.definition).differs_in(decode(beside.definition))


@asynccontextmanager
async def snapshot(database: Readable) -> AsyncGenerator[tuple[Tx, Counted]]:
    """Open a read-only snapshot, together with how far usage is counted in it.

    While a correction is written, which takes seconds at most, it waits.

    Raises:
        BeingCorrected: it waited long, and nobody went on writing.
    """
    for _ in range(LOOKS_MAX):
        async with database.reading() as tx:
            at = await counted(tx)
            if not await generations.is_being_corrected(
                tx, at.generation, at.up_to_event
            ):
                yield tx, at
                return
        await asyncio.sleep(LOOK_AGAIN_S)
    raise BeingCorrected(WAIT)


async def read_counted(
    database: Readable, work: Callable[[Tx, Counted], Coroutine[Any, Any, T]]
) -> T:
    """Return what a function finds in such a snapshot.

    All of it is one call to the database: in a busy process each costs as much as some
    statements, and waits for whoever else is at work.

    Args:
        work: awaits nothing but the transaction; see ``Work``.

    Raises:
        BeingCorrected: as ``snapshot``.
    """

    async def whole(tx: Tx) -> tuple[T] | None:
        at = await counted(tx)
        if await generations.is_being_corrected(tx, at.generation, at.up_to_event):
            return None
        return (await work(tx, at),)

    for _ in range(LOOKS_MAX):
        if (found := await database.read(whole)) is not None:
            return found[0]
        await asyncio.sleep(LOOK_AGAIN_S)
    raise BeingCorrected(WAIT)


async def counted_whole(tx: Tx) -> Counted:
    """Return how far usage is counted, for who makes something final of it.

    Raises:
        BeingCorrected: it is in the middle of a correction, or holds late usage that is
            about to be held back.
    """
    at = await counted(tx)
    if await generations.is_being_corrected(tx, at.generation, at.up_to_event):
        raise BeingCorrected(WAIT)
    served = await store.newest_generation(tx)
    if served is not None and not await is_screened(tx, served):
        raise BeingCorrected(WAIT)
    return at


async def when_whole(
    work: Callable[[], Awaitable[T]], count: Callable[[], Awaitable[object]]
) -> T:
    """Do something that makes something final of usage, once usage is whole.

    Args:
        work: calls ``counted_whole`` before it writes anything.
        count: counts what is there, as often as it takes.

    Raises:
        BeingCorrected: it is not whole for long.
    """
    for _ in range(LOOKS_MAX):
        with suppress(BeingCorrected):
            return await work()
        await asyncio.sleep(LOOK_AGAIN_S)
        await count()
    return await work()


async def counted_now(database: Readable) -> Counted:
    """Return how far usage is counted, for who reads no usage beside it."""
    async with snapshot(database) as (_tx, at):
        return at
