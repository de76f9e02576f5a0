"""The clients of all apps, in one process: ``python -m tests.soak.load PER_S SOCKET...``.

They ask at a steady pace, whether apps answer or not, until SIGTERM. What was answered
proves nothing here: an app can be killed between its answer and its notes.
"""

import asyncio
import random
import secrets
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.soak.book import HEADER, OPEN_PREFIXES, SUBJECTS

CLIENTS: Final = 8  # of each app
OPEN_ONES: Final = 2  # streams, and as many websockets, of each app
CHUNKS_MAX: Final = 60  # four a second
LEAVES: Final = 0.2  # the part of those who go away in the middle
ANSWER_TIMEOUT_S: Final = 30.0
PAUSE_S: Final = 0.3
PATHS: Final = ("/call", "/call", "/call", "/thread", "/later")
_TEXT: Final = b"\x81\x81\0\0\0\0x"  # a masked frame of one character
_ECHO_BYTES: Final = 3
_CLOSE: Final = b"\x88\x80\0\0\0\0"

Talk = Callable[[Path], Awaitable[None]]


def _head(path: str, subject: str, *more: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: soak", f"{HEADER}: {subject}", *more)
    return "\r\n".join((*lines, "", "")).encode()


def _new_subject() -> str:
    return f"{random.choice(OPEN_PREFIXES)}_s{secrets.token_hex(6)}"


async def ask_again_and_again(path: Path, *, every_s: float) -> None:
    """Send requests over one connection, at a pace, for as long as it lasts."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        while True:
            writer.write(_head(random.choice(PATHS), random.choice(SUBJECTS)))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2]
                await reader.readexactly(int(length.split(b"\r\n")[0]))
            await asyncio.sleep(random.uniform(0.5, 1.5) * every_s)
    finally:
        writer.close()


async def read_a_stream(path: Path) -> None:
    """Read a stream to its end, or leave in the middle."""
    chunks = random.randint(1, CHUNKS_MAX)
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        target = f"/stream?chunks={chunks}"
        writer.write(_head(target, _new_subject(), "Connection: close"))
        reads = random.randint(1, chunks) if random.random() < LEAVES else sys.maxsize
        async with asyncio.timeout(ANSWER_TIMEOUT_S + CHUNKS_MAX):
            for _ in range(reads):
                if not await reader.read(1000):
                    break
    finally:
        writer.close()


async def talk_over_a_socket(path: Path) -> None:
    """Exchange messages over a websocket, and close it or just go."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        upgrade = ("Connection: Upgrade", "Upgrade: websocket")
        key = (
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: c29hay1zb2FrLXNvYWs8PQ==",
        )
        writer.write(_head("/socket", _new_subject(), *upgrade, *key))
        async with asyncio.timeout(ANSWER_TIMEOUT_S + CHUNKS_MAX):
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(random.randint(1, CHUNKS_MAX)):
                writer.write(_TEXT)
                await reader.readexactly(_ECHO_BYTES)
                await asyncio.sleep(PAUSE_S)
            if random.random() > LEAVES:
                writer.write(_CLOSE)
                await reader.read(100)
    finally:
        writer.close()


async def for_ever(talk: Talk, path: Path) -> None:
    """Talk again whenever it is over, or the app was not there."""
    while True:
        try:
            await talk(path)
        except (OSError, EOFError, TimeoutError, ValueError):
            await asyncio.sleep(PAUSE_S)


async def main() -> None:
    """Talk to all apps until SIGTERM."""
    per_s, *sockets = sys.argv[1:]
    every_s = len(sockets) * CLIENTS / float(per_s)

    async def asks(path: Path) -> None:
        await ask_again_and_again(path, every_s=every_s)

    is_over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, is_over.set)
    talks = [asks] * CLIENTS + [read_a_stream, talk_over_a_socket] * OPEN_ONES
    tasks = [
        asyncio.create_task(for_ever(talk, Path(socket)))
        for socket in sockets
        for talk in talks
    ]
    await is_over.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
