"""A load balancer for tests: hands a connection to whichever server takes it."""

import contextlib
import socket
import threading
from pathlib import Path
from typing import Final, Self

CHUNK_BYTES: Final = 1 << 16


class Balancer:
    """Listens on a port of its own; each connection goes to the first that takes it.

    Args:
        servers: those behind it, by their ports or sockets, the one that is asked first
            in front.
    """

    def __init__(self, *servers: int | Path) -> None:
        self.servers = list(servers)
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End, and every connection with it."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self.cut()
        self._passes.set()

    def prefer(self, server: int | Path) -> None:
        """Ask this one first from now on; who is connected has to connect again."""
        self.servers.sort(key=lambda one: one != server)
        self.cut()

    def hold(self) -> None:
        """Pass nothing on any more, either way, and end nothing."""
        self._passes.clear()

    def go_on(self) -> None:
        """Pass on what was held, and all that comes."""
        self._passes.set()

    def cut(self) -> None:
        """End every connection."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = self._server()
            if server is None:
                client.close()
                continue
            self._open |= {client, server}
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _server(self) -> socket.socket | None:
        for one in list(self.servers):
            with contextlib.suppress(OSError):
                return _connected(one)
        return None

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        source.settimeout(None)
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                self._passes.wait()
                target.sendall(data)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()
        self._open.discard(source)


def _connected(server: int | Path) -> socket.socket:
    if isinstance(server, int):
        return socket.create_connection(("127.0.0.1", server), timeout=5)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(str(server))
    except OSError:
        connection.close()
        raise
    return connection
