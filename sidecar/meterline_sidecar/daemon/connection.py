"""One HTTP connection: how long it may take, and how many there may be.

A request that has begun must be complete in time, whatever dribbles in, and an answer
must be read. Where there are too many connections, the one that has been waiting longest
makes room: whoever asks for something comes in, a probe above all.
"""

import asyncio
from typing import Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from meterline_sidecar.web.clients import UNIX, Clients
from meterline_sidecar.web.neighbours import CONNECTION

REQUEST_TIMEOUT_S: Final = 10.0  # from the first byte, or the connection, to the last
ANSWER_TIMEOUT_S: Final = 60.0  # until a client takes more of an answer
CONNECTIONS_MAX: Final = 512
ADDRESS_CONNECTIONS_MAX: Final = 128  # of one address that is no trusted proxy's


class HttpConfig(uvicorn.Config):
    """uvicorn's configuration, with what a connection asks beyond it."""

    clients: Clients = Clients()


class HttpConnection(H11Protocol):
    """A connection that is cut off when it keeps us waiting."""

    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    address: str = UNIX
    waits_since_s: float = 0.0
    """Since when nothing is being answered here."""

    @property
    def is_waiting(self) -> bool:
        """Whether the client has still to send a request, or the rest of one."""
        answering = cast("RequestResponseCycle | None", self.cycle)
        is_idle = answering is None or answering.response_complete
        return is_idle or self.conn.their_state is h11.SEND_BODY

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin: somebody connected."""
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        # Of the server's, each connection has a copy, and each request one of that.
        known: dict[str, bool] = {}
        self.app_state = {**self.app_state, CONNECTION: known}
        self.address = self.client[0] if self.client else UNIX
        self.waits_since_s = self.loop.time()
        self._watch()
        self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for timer in (self._deadline, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Note that an answer is out."""
        self.waits_since_s = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than we write."""
        super().pause_writing()
        self._unread = self.loop.call_later(ANSWER_TIMEOUT_S, self.cut_off)

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def cut_off(self) -> None:
        """End the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        """See to it that what has begun is complete in time."""
        if not self.is_waiting:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
        elif self._deadline is None:
            # Not set again by each byte: one at a time would keep it open for ever.
            self._deadline = self.loop.call_later(REQUEST_TIMEOUT_S, self.cut_off)

    def _make_room(self) -> None:
        everybody: list[HttpConnection] = [
            one for one in self.connections if isinstance(one, HttpConnection)
        ]
        same = [one for one in everybody if one.address == self.address]
        assert isinstance(self.config, HttpConfig)
        is_proxy = self.config.clients.trusts(self.address)
        if len(same) > ADDRESS_CONNECTIONS_MAX and not is_proxy:
            crowd = same
        elif len(everybody) > CONNECTIONS_MAX:
            crowd = everybody
        else:
            return
        # Itself, where all the others are being answered.
        min(
            (one for one in crowd if one.is_waiting), key=lambda one: one.waits_since_s
        ).cut_off()
