"""The centre's end of what it asks an edge that is connected here."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from meterline.edge_wire import AskEvents, EventsTold
from meterline_sidecar.errors import MeterlineError

AT_ONCE_MAX: Final = 2  # questions to one edge; others wait for these


class NotTold(MeterlineError):
    """An edge does not tell what it is asked for; the text says why."""


class Asking:
    """What one connected edge is asked, and what it tells.

    Args:
        send: sends a question when its turn has come.
    """

    def __init__(self, send: Callable[[AskEvents], Awaitable[None]]) -> None:
        self._send = send
        self._at_once = asyncio.Semaphore(AT_ONCE_MAX)
        self._due: dict[int, asyncio.Future[EventsTold]] = {}
        self._number = 0

    async def ask(self, question: AskEvents, *, timeout_s: float) -> EventsTold:
        """Return what the edge tells; the question's number is chosen here.

        Raises:
            NotTold: it tells nothing, or nothing in time.
        """
        self._number += 1
        number = self._number
        told: asyncio.Future[EventsTold]
        told = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s), self._at_once:
                self._due[number] = told
                await self._send(replace(question, number=number))
                answer = await told
        except TimeoutError:
            raise NotTold(f"it did not answer within {timeout_s:.1f} s") from None
        finally:
            self._due.pop(number, None)
        if answer.trouble:
            raise NotTold(answer.trouble)
        return answer

    def told(self, message: EventsTold) -> None:
        """Take what the edge tells; what nobody waits for any more is left alone."""
        waiting = self._due.get(message.number)
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    def end(self) -> None:
        """Let nobody wait any longer: the connection has ended."""
        for waiting in self._due.values():
            if not waiting.done():
                waiting.set_exception(NotTold("its connection was cut meanwhile"))
