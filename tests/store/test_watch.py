"""A server that falls silent: nobody waits for it, and all go on when it answers again."""

import asyncio
from collections.abc import AsyncGenerator, Generator

import pytest

from meterline_sidecar.errors import DatabaseGone
from meterline_sidecar.store import facts
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.store.port import Ledger
from meterline_sidecar.store.postgres import watch
from tests.balancer import Balancer
from tests.patience import PATIENCE_S
from tests.postgres_server import by_port, shared


@pytest.fixture
def way() -> Generator[Balancer]:
    """Stand between a ledger and its server."""
    with Balancer(shared(15).socket) as one:
        yield one


@pytest.fixture
async def ledger(
    way: Balancer, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Ledger]:
    """Open a ledger whose server is soon said to be silent."""
    monkeypatch.setattr(watch, "SILENT_S", 1.0)
    monkeypatch.setattr(watch, "ASK_EVERY_S", 0.05)
    opened = await open_ledger(by_port(shared(15).create(), way.port))
    yield opened
    await opened.close()


async def put(ledger: Ledger, value: str) -> None:
    async with ledger.transaction() as tx:
        await facts.put_fact(tx, "name", value)


async def got(ledger: Ledger) -> str | None:
    async with ledger.reading() as tx:
        return await facts.get_fact(tx, "name")


async def test_who_waits_for_a_silent_server_is_told_and_goes_on_when_it_answers(
    ledger: Ledger, way: Balancer
) -> None:
    await put(ledger, "before")
    assert await got(ledger) == "before"
    way.hold()

    waited = await asyncio.gather(
        *(put(ledger, "meanwhile"), got(ledger), got(ledger)), return_exceptions=True
    )
    with pytest.raises(DatabaseGone, match="the server does not answer"):
        await got(ledger)
    way.go_on()

    assert [type(error) for error in waited] == [DatabaseGone] * 3
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await put(ledger, "after")
                break
            except DatabaseGone:
                await asyncio.sleep(0.05)
    assert await got(ledger) == "after"
