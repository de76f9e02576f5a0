"""The HTTP server: which address it listens on, and what it takes at once."""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from meterline_sidecar.daemon.connection import HttpConfig, HttpConnection
from meterline_sidecar.daemon.ports import free_port, holder_of
from meterline_sidecar.errors import AlreadyRunning
from meterline_sidecar.files import remove_socket
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.guard import HEADER_BYTES_MAX

HTTP_BACKLOG: Final = 128
DATE_S: Final = 1.0  # from one date of the answers to the next


class HttpServer(uvicorn.Server):
    """uvicorn without signal handlers: the daemon has its own.

    Args:
        clients: tells proxies, which have many connections, from others.
    """

    def __init__(self, app: ASGIApp, *, clients: Clients, stop_timeout_s: int) -> None:
        config = HttpConfig(
            app,
            log_config=None,
            log_level=logging.WARNING,
            access_log=False,
            lifespan="off",
            interface="asgi3",
            ws="none",
            # On h11: httptools, where somebody has it, takes headers of any size.
            http=HttpConnection,
            server_header=False,
            proxy_headers=False,  # it believes whoever is on this machine
            h11_max_incomplete_event_size=HEADER_BYTES_MAX,
            timeout_graceful_shutdown=stop_timeout_s,
        )
        config.clients = clients
        super().__init__(config)
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Take no more connections, and let ``serve`` return once all are answered."""
        self.should_exit = True
        self._stop.set()

    async def main_loop(self) -> None:
        """Keep the date of the answers right until ``stop``.

        uvicorn wakes up ten times for that, which is a fifth of what an idle sidecar does.
        """
        while not await self.on_tick(0):  # the number at which it looks at the time
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), DATE_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals alone."""
        yield


def bind(address: str, *, file: Path | None = None) -> socket.socket:
    """Return a socket that listens on ``HOST:PORT`` or ``unix:PATH``.

    Args:
        file: that of the configuration, which says where, for the error.

    Raises:
        AlreadyRunning: somebody listens there already, or a file is there.
    """
    path = address.removeprefix("unix:")
    try:
        listener = _bound_file(path) if path != address else _bound_port(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and path == address:
            raise AlreadyRunning(_taken(address, file)) from error
        raise AlreadyRunning(
            f"cannot listen on {address}: {error.strerror}; set sidecar.http to another"
            " address"
        ) from error
    listener.listen(HTTP_BACKLOG)
    listener.setblocking(False)
    return listener


def _bound_file(path: str) -> socket.socket:
    remove_socket(Path(path), key="sidecar.http")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _closed_on_error(listener):
        listener.bind(path)
        Path(path).chmod(0o660)
    return listener


def _bound_port(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    # Named, or asyncio would not see that it is TCP and leave Nagle's
    # algorithm on: 40 ms for every answer in two parts.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with _closed_on_error(listener):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host.strip("[]"), int(port)))
    return listener


@contextlib.contextmanager
def _closed_on_error(listener: socket.socket) -> Generator[None]:
    try:
        yield
    except OSError:
        listener.close()
        raise


def _taken(address: str, file: Path | None) -> str:
    """Return who has an address, and what to write to have another."""
    host, _, port = address.rpartition(":")
    free = free_port(host.strip("[]"), int(port) + 1)
    where = "meterline.toml" if file is None else file
    return (
        f"cannot listen on {address}: {holder_of(int(port))} does; stop that process,"
        f' or write `http = "{host}:{free}"` under [sidecar] in {where}'
    )


def address_of(listener: socket.socket) -> str:
    """Return where a socket listens, as a URL or as ``unix:PATH``."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"
