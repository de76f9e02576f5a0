"""A whole sidecar in this process, asked over HTTP without a network.

With ``METERLINE_TEST_LEDGER=postgresql`` its ledger is a database on a server.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from meterline.usage_event import UsageEvent
from meterline_sidecar.access.tokens import TokenFile
from meterline_sidecar.billing import running_totals
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon import assemble
from meterline_sidecar.daemon.assemble import open_parts
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.store.open import Place, open_ledger
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.web.app import make_app
from meterline_sidecar.web.clients import Clients
from meterline_sidecar.web.parts import Parts
from tests.clock import FakeClock
from tests.postgres_server import shared
from tests.producer import Connection, batch, event
from tests.sidecar_process import METERLINE, PRICING, SIDECAR

ON_SERVER: Final = os.environ.get("METERLINE_TEST_LEDGER") == "postgresql"
OWN_LEDGERS: Final = (
    # They open the file themselves: to change it, verify it, or die in the middle of it.
    *("test_again.py", "test_erasures.py", "test_freshness.py", "test_grafana.py"),
    *("test_ids.py", "test_laws.py", "test_provisioned.py", "test_retries.py"),
    "test_ways.py",
    # They ask a process of its own.
    *("test_browser.py", "test_forms.py", "test_languages.py", "test_narrow.py"),
    *("test_openapi.py", "test_paper.py"),
)
"""Which modules have ledgers in files in any case."""


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    if not ON_SERVER:
        return
    left_out = [item for item in items if item.path.name in OWN_LEDGERS]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@dataclass
class Web:
    """A running sidecar and a client of its HTTP side."""

    parts: Parts
    http: httpx.AsyncClient
    clock: FakeClock
    tokens: TokenFile
    app: Any
    sent: int = 0

    async def ship(self, *events: UsageEvent) -> None:
        """Send events as an app would, and add them up."""
        async with Connection(self.parts.config.sidecar.socket) as connection:
            last_seq = await connection.hello()
            await connection.ship(batch(*events, first_seq=last_seq + 1))
        await self.parts.aggregator.run()

    async def get(self, path: str, **query: Any) -> Any:
        """Return the JSON of a page that must be there."""
        response = await self.http.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()


def form(**fields: str) -> dict[str, str]:
    """Return what a form sends that was just shown, and never sent before."""
    return {"once": uuid4().hex, **fields}


OpenWeb = Callable[..., AbstractAsyncContextManager[Web]]


def configure(
    folder: Path,
    *,
    meterline: str = METERLINE,
    pricing: str = PRICING,
    sidecar: str = SIDECAR,
) -> Config:
    """Write the files of a sidecar and read them."""
    file = folder / "meterline.toml"
    file.write_text(sidecar + meterline)
    (folder / "pricing.toml").write_text(pricing)
    return read_config(file, environment={})


@asynccontextmanager
async def web_at(
    folder: Path, *, clock: FakeClock | None = None, **files: str
) -> AsyncGenerator[Web]:
    """Run a whole sidecar in a folder."""
    config = configure(folder, **files)
    clock = clock or FakeClock()
    tokens = TokenFile(LedgerFiles(config.sidecar.database).tokens)
    fatal: list[BaseException] = []
    async with open_parts(
        config, clock=clock, tokens=tokens, on_fatal=fatal.append
    ) as parts:
        ingesting = asyncio.create_task(parts.ingest.run())
        app = make_app(parts, Clients(config.sidecar.trusted_proxies))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            parts.receiver,
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
        ):
            yield Web(parts, http, clock, tokens, app)
        ingesting.cancel()
    assert fatal == []


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look at standings come to its end also on a busy machine."""
    monkeypatch.setattr(running_totals, "RUN_S_MAX", 60)


@cache
def _template() -> str:
    """Return an empty ledger on the server: a copy takes a tenth of what making it does."""
    server = shared(15)
    name = server.create()

    async def make() -> None:
        await (await open_ledger(server.url(name))).close()

    asyncio.run(make())
    return name


@pytest.fixture(autouse=ON_SERVER)
def on_server(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Put each ledger of the sidecars in this process on a server, for a test."""
    server, template = shared(15), _template()
    databases: dict[Place, str] = {}

    async def open_there(place: Place) -> Ledger:
        if place not in databases:
            databases[place] = server.create(template)
        return await open_ledger(server.url(databases[place]))

    monkeypatch.setattr(assemble, "open_ledger", open_there)
    yield
    for name in databases.values():
        server.sql("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def open_web(tmp_path: Path) -> OpenWeb:
    def open_it(**files: Any) -> AbstractAsyncContextManager[Web]:
        return web_at(tmp_path, **files)

    return open_it


@pytest.fixture
async def web(open_web: OpenWeb) -> AsyncGenerator[Web]:
    """A sidecar that has seen three requests of acme and one of nobody."""
    async with open_web() as web:
        await web.ship(event(), event(route="/v1/other"), event(status=500), event())
        await web.ship(event(subject=None))
        yield web
