"""How many requests apps leave out on purpose, as everybody reads it."""

import pytest
from msgspec.structs import replace

from meterline_sidecar.ingest import left_out
from meterline_sidecar.ingest.left_out import LeftOut
from tests.producer import PRODUCER, Connection, batch, event
from tests.web.conftest import Web


async def say(web: Web, producer: str, excluded: int) -> None:
    """Have a producer announce what it has left out, with one more event."""
    async with Connection(web.parts.config.sidecar.socket) as connection:
        first_seq = await connection.hello(producer) + 1
        told = replace(batch(event(), first_seq=first_seq), excluded=excluded)
        await connection.ship(told)


async def test_what_apps_left_out_is_counted_once_however_often_they_say_it(
    web: Web,
) -> None:
    assert (await web.get("/status"))["events"]["excluded"] == 0
    for producer, excluded in ((PRODUCER, 3), (PRODUCER, 5), (PRODUCER, 5)):
        await say(web, producer, excluded)
    await say(web, "b" * 32, 2)

    assert (await web.get("/status"))["events"]["excluded"] == 7
    metrics = (await web.http.get("/metrics")).text
    assert "meterline_requests_excluded_total 7.0" in metrics


def test_of_many_producers_the_sum_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_out, "PRODUCERS_MAX", 2)
    counted = LeftOut()

    for producer in ("a", "b", "a", "c"):
        counted.note(producer, 10)
    counted.note("a", 11)
    counted.note("a", 4)  # out of order: it never goes down

    assert counted.total == 31
