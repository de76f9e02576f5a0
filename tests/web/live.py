"""A real sidecar on a TCP port of the loopback, for what needs a real client."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from meterline.usage_event import UsageEvent
from meterline.wire import VERSION, Hello, encode_frame
from tests.patience import PATIENCE_S
from tests.ports import Port
from tests.producer import PRODUCER, Connection, batch
from tests.sidecar_process import NO_TLS, SIDECAR, SidecarProcess


class LiveSidecar(SidecarProcess):
    """A ``meterline run`` whose HTTP side a browser can reach at ``url``."""

    def __init__(self, folder: Path, *, sidecar: str = "", **files: Any) -> None:
        self._port = Port()
        self.url = f"http://127.0.0.1:{self._port.number}"
        toml = SIDECAR.replace("unix:http.sock", f"127.0.0.1:{self._port.number}")
        super().__init__(folder, sidecar=toml + sidecar, **files)

    def __exit__(self, *error: object) -> None:
        """End it, if it still runs, and give its port back."""
        super().__exit__(*error)
        self._port.close()

    def client(self) -> httpx.Client:
        """Return an HTTP client of its API."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE_S, verify=NO_TLS)

    def ship(self, *events: UsageEvent, producer: str = PRODUCER) -> None:
        """Send events as an app would, and return once they are stored."""
        asyncio.run(self._ship(events, producer))

    async def _ship(self, events: tuple[UsageEvent, ...], producer: str) -> None:
        async with Connection(self.socket) as connection:
            first_seq = await connection.hello(producer) + 1
            for start in range(0, len(events), 500):
                part = events[start : start + 500]
                await connection.ship(batch(*part, first_seq=first_seq + start))

    @contextmanager
    def worker(self, producer: str) -> Generator[None]:
        """Stay connected as a worker that records nothing."""
        hello = Hello(VERSION, producer, "shop-api", "web-1", 4711, 0)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(encode_frame(hello))
            connection.recv(1)
            yield

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"it ended at its start:\n{self.log.read_text()}")
        if not self._port.is_listening():
            return False
        with self.client() as client:
            return client.get("/readyz").status_code == 200
