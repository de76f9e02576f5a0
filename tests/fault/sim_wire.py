"""A connection between an edge and its centre, in memory, with all that can become of it."""

import asyncio
import random
from typing import Final

SOCKET_BYTES: Final = 64 << 10  # what a wire that moves nothing takes nevertheless
SLOW_BYTES: Final = 400  # of a slow wire so many come one at a time


class _End:
    """What one side writes to: an ``asyncio.StreamWriter``, as far as it is used."""

    def __init__(self, wire: "Wire", target: asyncio.StreamReader) -> None:
        self._wire = wire
        self.target = target
        self.n_written = self.n_held = self.n_frames = 0
        self.frames_left: int | None = None
        self.last_s = 0.0
        self.is_closed = False

    def write(self, data: bytes) -> None:
        """Send bytes, or some of them, or none."""
        self._wire.carry(self, bytes(data))

    async def drain(self) -> None:
        """Wait for room."""
        if self._wire.is_cut:
            raise ConnectionResetError("the connection was cut")
        if self.n_held > SOCKET_BYTES:
            await self._wire.gone.wait()
            raise ConnectionResetError("the connection was cut")
        await asyncio.sleep(0)

    def close(self) -> None:
        """Hang up: the other side reads what is on its way, then the end."""
        self._wire.hang_up(self)

    def get_extra_info(self, _name: str) -> None:
        """Return nothing: no certificate was shown."""
        return


class Wire:
    """Both directions, until it is cut.

    Args:
        chance: how what is sent is cut to pieces, and how long they take.
        cut_after: after how many bytes, up and down, nothing passes any more.
        frames: likewise, in frames.
        stalls: nobody is told of that.
        is_slow: the first bytes come one at a time.
    """

    def __init__(
        self,
        chance: random.Random,
        *,
        cut_after: tuple[int | None, int | None] = (None, None),
        frames: tuple[int | None, int | None] = (None, None),
        stalls: bool = False,
        is_slow: bool = False,
    ) -> None:
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self.stalls = stalls
        self._is_slow = is_slow
        self.is_cut = self.is_stalled = False
        self.gone = asyncio.Event()
        self.edge_reader, self.centre_reader = (
            asyncio.StreamReader(),
            asyncio.StreamReader(),
        )
        self.edge_writer = _End(self, self.centre_reader)
        self.centre_writer = _End(self, self.edge_reader)
        up, down = cut_after
        self._left = {id(self.edge_writer): up, id(self.centre_writer): down}
        self.edge_writer.frames_left, self.centre_writer.frames_left = frames

    def carry(self, end: _End, data: bytes) -> None:
        """Take what one side writes, and hand it on a little later."""
        if self.is_cut or end.is_closed:
            return
        if self.is_stalled:
            end.n_held += len(data)
            return
        left = self._left[id(end)]
        end.n_frames += 1  # each is one write
        if end.n_frames == end.frames_left:
            left = len(data)
        if left is not None:
            self._left[id(end)] = left - len(data)
            data = data[: max(0, left)]
        for piece in self._pieces(data, end.n_written):
            # In order, whatever each of them takes.
            end.last_s = max(end.last_s, self._loop.time()) + (
                self._chance.random() / 1_000
            )
            self._loop.call_at(end.last_s, self._feed, end, piece)
        end.n_written += len(data)
        if left is not None and left <= len(data):
            if self.stalls:
                self.is_stalled = True
            else:
                self._loop.call_at(end.last_s, self.cut)

    def _pieces(self, data: bytes, n_before: int) -> list[bytes]:
        if self._is_slow and n_before < SLOW_BYTES:
            n_slow = min(len(data), SLOW_BYTES)
            return [data[i : i + 1] for i in range(n_slow)] + [data[n_slow:]]
        at = self._chance.randrange(len(data) + 1)
        return [piece for piece in (data[:at], data[at:]) if piece]

    def _feed(self, end: _End, piece: bytes) -> None:
        if piece and not self.is_cut:
            end.target.feed_data(piece)

    def hang_up(self, end: _End) -> None:
        """End it, from one side."""
        if not end.is_closed:
            end.is_closed = True
            at_s = max(end.last_s, self._loop.time())
            self._loop.call_at(at_s, self._end_of, end)

    def _end_of(self, end: _End) -> None:
        if not self.is_stalled:
            self.cut()

    def cut(self) -> None:
        """End it for both; what is under way is lost."""
        if not self.is_cut:
            self.is_cut = True
            for reader in (self.edge_reader, self.centre_reader):
                reader.feed_eof()
            self.gone.set()

    def stall(self) -> None:
        """Carry nothing any more, and tell nobody."""
        self.is_stalled = True
