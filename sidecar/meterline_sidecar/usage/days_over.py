"""Days that are over: packed, and then cut into parts."""

from typing import Final

from meterline_sidecar.clock import Clock
from meterline_sidecar.store.port import Database
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage.day_parts import PartKeeper
from meterline_sidecar.usage.packed_days import DayPacker

DAYS_EVERY_S: Final = 600
"""To see whether another day is over."""


class DaysOver:
    """Makes usage of days that are over quick to read; both of its jobs in turn.

    Args:
        terms: as they are now, whenever it is asked.
    """

    def __init__(self, database: Database, terms: Terms, *, clock: Clock) -> None:
        self._packer = DayPacker(database, clock=clock)
        self._keeper = PartKeeper(database, terms, clock=clock)

    async def run(self) -> None:
        """Pack days, and keep their parts."""
        await self._packer.run()
        await self._keeper.run()
