"""The drivers that every statement of the money side is run on.

A second driver is one more row of ``DRIVERS``: a function that opens an empty ledger.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Final

from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Database

Opened = AbstractAsyncContextManager[Database]


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncGenerator[Database]:
    ledger = await open_ledger(folder / "meterline.db")
    try:
        yield ledger
    finally:
        await ledger.close()


DRIVERS: Final[dict[str, Callable[[Path], Opened]]] = {"sqlite": sqlite}
