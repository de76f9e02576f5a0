"""A centre and edges in one process, over TLS on the loopback."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from meterline.wire import Batch, Bye, Lost
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.config.read import read_config
from meterline_sidecar.daemon.assemble import open_parts
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.web.app import make_app
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.parts import Parts
from tests.clock import FakeClock
from tests.fleet import CENTRE, EDGE, make_certificate, on_server
from tests.patience import PATIENCE_S
from tests.ports import Port
from tests.producer import PRODUCER, Connection
from tests.sidecar_process import METERLINE, PRICING, SIDECAR


@dataclass
class Host:
    """One sidecar that runs."""

    parts: Parts
    http: httpx.AsyncClient
    clock: FakeClock
    forwarding: "asyncio.Task[None] | None" = None

    async def ship(
        self, *messages: Batch | Lost | Bye, producer: str = PRODUCER, **hello: Any
    ) -> None:
        """Send what a worker would."""
        async with Connection(self.parts.config.sidecar.socket) as connection:
            await connection.hello(producer, **hello)
            for message in messages:
                await connection.ship(message)

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what a query of the ledger finds."""
        async with self.parts.database.reading() as tx:
            return await tx.fetch_all(sql)

    async def post(self, path: str, **query: str) -> httpx.Response:
        """Ask for a change."""
        return await self.http.post(path, params=query)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class World:
    """Where they run, and with which clock."""

    folder: Path
    held: Port = field(default_factory=Port)
    second: Port = field(default_factory=Port)
    clock: FakeClock = field(default_factory=FakeClock)
    token: str = ""
    database: PostgresUrl | None = None
    """Where the centre's ledger is, if on a server."""

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        make_certificate(self.folder, "centre")

    def centre(
        self,
        more: str = METERLINE,
        *,
        keys: str = "",
        pricing: str = PRICING,
        folder: str = "centre",
    ) -> AbstractAsyncContextManager[Host]:
        """Run the centre, with more keys of ``[centre]``; in another folder, a second one."""
        port = self.held.number if folder == "centre" else self.second.number
        text = CENTRE.format(port=port) + keys + more
        return self._host(folder, text, pricing, role="centre")

    def edge(
        self,
        name: str = "one",
        *,
        port: int | None = None,
        folder: str | None = None,
        keys: str = "",
        more: str = "",
        token: bool = True,
    ) -> AbstractAsyncContextManager[Host]:
        """Run an edge, in the folder of its name by default, with more keys."""
        text = EDGE.format(port=port or self.held.number, name=name) + keys + more
        if not token:
            text = text.replace('token_file = "../token"\n', "")
        return self._host(folder or name, text, "")

    def single(
        self, name: str, text: str = "", *, pricing: str = ""
    ) -> AbstractAsyncContextManager[Host]:
        """Run what is neither, in the folder of a name."""
        return self._host(name, text, pricing, role="single")

    @asynccontextmanager
    async def _host(
        self, name: str, text: str, pricing: str, *, role: str = "edge"
    ) -> AsyncGenerator[Host]:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        file = folder / "meterline.toml"
        sidecar = SIDECAR
        if role == "centre" and self.database is not None:
            sidecar = on_server(self.database)
        file.write_text(f'{sidecar}role = "{role}"\n{text}')
        (folder / "pricing.toml").write_text(pricing)
        config = read_config(file, environment={})
        tokens = TokenFile(LedgerFiles(config.sidecar.database).tokens)
        if role == "centre" and not self.token:
            self.token = tokens.create("edges", "edge", now_ms=1).text
            (self.folder / "token").write_text(self.token)
        fatal: list[BaseException] = []
        async with open_parts(
            config, clock=self.clock, tokens=tokens, on_fatal=fatal.append
        ) as parts:
            tasks = [asyncio.create_task(parts.ingest.run())]
            transport = httpx.ASGITransport(make_app(parts, Clients(())))
            async with (
                parts.receiver,
                httpx.AsyncClient(
                    transport=transport, base_url="http://localhost"
                ) as http,
            ):
                host = Host(parts, http, self.clock)
                if parts.forwarder is not None:
                    host.forwarding = asyncio.create_task(parts.forwarder.run())
                    tasks.append(host.forwarding)
                if parts.door is not None:
                    async with parts.door:
                        yield host
                else:
                    yield host
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert fatal == []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for the next heartbeat, nor for the next try."""
    monkeypatch.setattr("meterline_sidecar.fleet.forwarder.BEAT_EVERY_S", 0.05)
    monkeypatch.setattr("meterline_sidecar.fleet.forwarder.RETRY_S", 0.02)
    monkeypatch.setattr("meterline_sidecar.fleet.forwarder.RETRY_S_MAX", 0.05)
    monkeypatch.setattr("meterline_sidecar.fleet.door.CHECK_EVERY_S", 0.05)
    monkeypatch.setattr("meterline_sidecar.billing.lifecycle.LOOK_EVERY_S", 0.01)
