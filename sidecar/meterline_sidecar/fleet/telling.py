"""The edge's end of what its centre asks: events of its own that are in no file yet.

One question at a time, of so many rows, read beside what is stored, and with rests while
events wait for their commit: whoever asks waits, and nobody else.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Final

from meterline.edge_wire import (
    EVENTS_TOLD_BYTES,
    AskEvents,
    EventsTold,
    EventTold,
)
from meterline.events import Flag
from meterline_sidecar.errors import EventsArchived, MeterlineError
from meterline_sidecar.fleet.line import Line
from meterline_sidecar.store.edge import edge_files
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.edge.edge_files import OWN
from meterline_sidecar.store.edge.event_log import AuditEvent, Filter, read_events
from meterline_sidecar.store.port import Readable, Tx

WAITING_MAX: Final = 8
"""Questions of one connection; of a centre that asks more, those are left alone."""
TROUBLE_CHARS: Final = 256
ROLLED_UP: Final = int(Flag.ROLLED_UP)


class Telling:
    """Answers what the centre asks over one connection.

    Args:
        may_tell: whether the owner of this edge lets it.
        pause: waits after so many seconds of work, where events come in.
    """

    def __init__(
        self,
        database: Readable,
        *,
        may_tell: bool,
        pause: Callable[[float], Awaitable[None]],
    ) -> None:
        self._database = database
        self._may_tell = may_tell
        self._pause = pause
        self._waiting: asyncio.Queue[AskEvents] = asyncio.Queue(WAITING_MAX)

    def take(self, question: AskEvents) -> None:
        """Take a question, which is answered in its turn."""
        if not self._waiting.full():
            self._waiting.put_nowait(question)

    async def run(self, line: Line) -> None:
        """Answer questions for as long as the connection lasts."""
        while True:
            question = await self._waiting.get()
            began_s = time.monotonic()
            try:
                told = await self._answer_to(question)
            except MeterlineError as error:  # what is sent besides goes on
                told = EventsTold(question.number, trouble=str(error)[:TROUBLE_CHARS])
            await line.send_all([told])
            await self._pause(time.monotonic() - began_s)

    async def _answer_to(self, question: AskEvents) -> EventsTold:
        if not self._may_tell:
            return EventsTold(question.number, trouble="it tells no events")
        wanted = Filter(
            route=question.route,
            method=question.method,
            kind=question.kind,
            subjects=None
            if question.subjects is None
            else json.dumps(question.subjects),
            without=ROLLED_UP,
        )
        async with self._database.reading() as tx:
            after = question.after or await _end_of_files(tx, question.file)
            left = (await begin(tx)).event_id
            if after < left:
                # It was put back, and is told of these files.
                raise EventsArchived(
                    f"its events up to {left} are in files, and not all of these are noted"
                    " here yet: ask again in a moment"
                )
            page = await read_events(
                tx,
                wanted,
                start=question.start_ms,
                end=question.end_ms,
                after=after,
                limit=question.limit,
            )
        events: list[EventTold] = []
        n_bytes = 0
        for event in page.events:
            if n_bytes > EVENTS_TOLD_BYTES:
                return EventsTold(question.number, tuple(events), events[-1].id)
            events.append(_told(event))
            n_bytes += _n_bytes_of(event)
        return EventsTold(question.number, tuple(events), page.next_after)


async def _end_of_files(tx: Tx, name: str) -> int:
    """Return the last event in a file of ours, and in those before it."""
    file = await edge_files.file_named(tx, OWN, name)
    file = file or await edge_files.last_file(tx, OWN)
    return 0 if file is None else file.what.first_event_id + file.what.events - 1


def _told(event: AuditEvent) -> EventTold:
    return EventTold(
        *(getattr(event, name) for name in EventTold.__struct_fields__),
    )


def _n_bytes_of(event: AuditEvent) -> int:
    """Return about how many bytes an event has on the wire, and not fewer."""
    texts = (event.subject, event.route, event.quantities, event.properties)
    return 160 + sum(len(text.encode()) for text in texts if text)
