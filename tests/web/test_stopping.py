"""What a sidecar that is told to stop still does, and what it leaves for later."""

from pathlib import Path

import pytest

from meterline_sidecar.daemon import assemble
from tests.producer import Connection, batch, event
from tests.web.conftest import web_at


async def send(folder: Path, *, n_events: int) -> None:
    """Run a sidecar for as long as it takes to store events."""
    async with (
        web_at(folder) as web,
        Connection(web.parts.config.sidecar.socket) as connection,
    ):
        await connection.hello()
        await connection.ship(batch(*[event()] * n_events))


async def test_what_has_arrived_is_counted_at_the_stop(tmp_path: Path) -> None:
    await send(tmp_path, n_events=100)

    async with web_at(tmp_path) as web:
        assert await web.parts.aggregator.behind() == 0


async def test_a_stop_does_not_wait_until_all_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assemble, "COUNT_AT_STOP_S", 0)
    await send(tmp_path, n_events=100)

    async with web_at(tmp_path) as web:
        assert await web.parts.aggregator.behind() == 100
        assert await web.parts.aggregator.run() == 100
