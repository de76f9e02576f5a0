"""Gives memory back to the system that nobody holds any more, or hardly needs."""

import asyncio
import ctypes
from typing import Final

from meterline_sidecar.store.port import Ledger

EVERY_S: Final = 60


async def rest(ledger: Ledger) -> None:
    """Give back what is kept in case it is needed soon, as most of the time it is not.

    SQLite keeps up to 24 MiB of what it read. To read all of it again takes some 20 ms,
    from the pages that the system has of the file.
    """
    await ledger.forget_pages()
    await asyncio.to_thread(give_back)


def give_back() -> None:
    """Give back what is free, which the C library keeps for what may come.

    Files of 100,000 customers leave 20 MiB of it, in holes. It takes some milliseconds,
    and the interpreter goes on meanwhile where this is called in a thread.
    """
    # Of the C library of GNU; others have no such function, and keep less.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
