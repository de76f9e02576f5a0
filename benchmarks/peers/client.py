"""Requests from a process of its own, where there is no wrk: connections kept open.

    python -m benchmarks.peers.client PORT SECONDS CONNECTIONS [REQUESTS]

Prints how many were answered, and how many seconds that took.
"""

import asyncio
import json
import sys
import time
from typing import Final

PATH: Final = "/v10/items/7"
SUBJECT: Final = "x-account: acct_42"
_ASK: Final = f"GET {PATH} HTTP/1.1\r\nHost: peers\r\n{SUBJECT}\r\n\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    status, _, rest = head.partition(b"\r\n")
    if b" 200 " not in status:
        raise RuntimeError(f"answered {status!r}")
    lengths = [
        line for line in rest.lower().split(b"\r\n") if b"content-length" in line
    ]
    await reader.readexactly(int(lengths[0].partition(b":")[2]))


class _Load:
    def __init__(self, port: int, end_s: float, left: int) -> None:
        self._port = port
        self._end_s = end_s
        self._left = left
        self.answered = 0

    async def connection(self) -> None:
        """Ask one after the other until it is time, or all are asked for."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        while self._left > 0 and time.monotonic() < self._end_s:
            self._left -= 1
            writer.write(_ASK)
            await _answer(reader)
            self.answered += 1
        writer.close()


async def ask(port: int, *, seconds: float, connections: int, n_max: int) -> _Load:
    """Ask from so many connections at once."""
    load = _Load(port, time.monotonic() + seconds, n_max)
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(load.connection())
    return load


def main() -> None:
    """Ask as the arguments say."""
    port, seconds, connections, *more = map(int, sys.argv[1:])
    start = time.monotonic()
    n_max = more[0] if more else 10**9
    load = asyncio.run(ask(port, seconds=seconds, connections=connections, n_max=n_max))
    sys.stdout.write(json.dumps([load.answered, time.monotonic() - start]) + "\n")


if __name__ == "__main__":
    main()
