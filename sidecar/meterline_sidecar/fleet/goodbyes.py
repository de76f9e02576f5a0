"""Tells the centre which of an edge's producers record nothing more, each once."""

from typing import Final

from meterline.wire import Bye
from meterline_sidecar.clock import MINUTE_MS, Clock
from meterline_sidecar.fleet.backlog import hello_of, read_ended
from meterline_sidecar.fleet.line import Line
from meterline_sidecar.store import facts
from meterline_sidecar.store.edge.events import ProducerRow
from meterline_sidecar.store.port import Database

TOLD: Final = "goodbyes_told_ms"
"""The fact that says up to when goodbyes were told to the centre."""


class Goodbyes:
    """What workers said when they ended, as far as the centre was told."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._told: set[str] = set()

    async def send(self, line: Line) -> None:
        """Tell what is new; all else of these producers was acked before."""
        began_ms, after = self._clock.now_ms(), 0
        async with self._database.reading() as tx:
            told_ms = int(await facts.get_fact(tx, TOLD) or 0)
        fresh: list[ProducerRow] = []
        while True:
            async with self._database.reading() as tx:
                rows = await read_ended(tx, seen_from_ms=told_ms, after=after)
            if not rows:
                break
            after = rows[-1].id
            fresh += [row for row in rows if row.producer not in self._told]
        if not fresh:
            return
        for row in fresh:
            await line.send_all([hello_of(row), Bye(row.last_seq)])
        await line.until_answered()
        self._told = {row.producer for row in fresh}
        async with self._database.transaction() as tx:
            await facts.put_fact(tx, TOLD, str(began_ms - MINUTE_MS))
