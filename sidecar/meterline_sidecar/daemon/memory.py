"""Keeps the process small, and gives back what nobody holds any more, or hardly needs."""

import asyncio
import ctypes
from typing import Any, Final

from meterline_sidecar.store.port import Ledger

EVERY_S: Final = 60
M_ARENA_MAX: Final = -8
"""Source: malloc.h of the C library of GNU 2.36."""


def share_one_heap() -> None:
    """Have all threads take memory from one heap, where each would have its own.

    Each connection to SQLite has a thread, and what one has freed, the others cannot use
    from their own heaps: 14 MB after a busy time. They hardly ever wait for each other,
    as few of them work at the same moment. To be called before the first thread starts.
    """
    set_option = _of_gnu("mallopt")
    if set_option is not None:
        set_option(M_ARENA_MAX, 1)


async def rest(ledger: Ledger) -> None:
    """Give back what is kept in case it is needed soon, as most of the time it is not.

    SQLite keeps up to 18 MiB of what it read. To read all of it again takes some 20 ms,
    from the pages that the system has of the file.
    """
    await ledger.forget_pages()
    await asyncio.to_thread(give_back)


def give_back() -> None:
    """Give back what is free, which the C library keeps for what may come.

    Files of 100,000 customers leave 20 MiB of it, in holes. It takes some milliseconds,
    and the interpreter goes on meanwhile where this is called in a thread.
    """
    trim = _of_gnu("malloc_trim")
    if trim is not None:
        trim(0)


def _of_gnu(name: str) -> Any:
    """Return a function of the C library of GNU; ``None`` with others, which keep less."""
    return getattr(ctypes.CDLL(None), name, None)
