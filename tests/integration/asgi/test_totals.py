"""Totals that are set in place of being added up, against a slow reference."""

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import meterline
from meterline import waiting
from meterline.events import PARTS_MAX, QUANTITY_MAX, Flag
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.integration.asgi.test_properties import Server


@pytest.fixture
def server(sidecar: FakeSidecar, metered: Metered) -> Server:
    return Server(sidecar, metered)


async def test_the_last_total_decides_and_what_comes_later_adds(server: Server) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.record("seats", 5)
        meterline.set_total("seats", 12)
        meterline.current().set_total("seats", "10.5")
        meterline.record("seats", 1)
        meterline.set_total("rooms", 0)
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities == {"seats": "11.5", "rooms": 0}
    assert (event.parts, event.flags) == (None, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_totals_and_records_come_to_what_a_slow_reference_has(
    server: Server, seed: int
) -> None:
    dice = random.Random(seed)
    shares: dict[tuple[str, str], Decimal] = {}

    async def endpoint(request: Request) -> Response:
        for _ in range(dice.randrange(1, 30)):
            name, plan = dice.choice("ab"), dice.choice(["", "free", "pro"])
            amount = Decimal(dice.randrange(10_000)) / dice.choice([1, 4, 1000])
            own = {"plan": plan} if plan else {}
            if dice.random() < 0.5:
                meterline.set_total(name, amount, **own)
                shares[name, plan] = amount
            else:
                meterline.record(name, amount, **own)
                shares[name, plan] = shares.get((name, plan), Decimal(0)) + amount
        return Response()

    (event,) = await server.serve(endpoint)

    found = {
        (part.quantity, part.properties["plan"]): Decimal(part.amount)
        for part in event.parts or []
    }
    assert found == {key: n for key, n in shares.items() if key[1]}
    assert {name: Decimal(n) for name, n in (event.quantities or {}).items()} == {
        name: sum(n for key, n in shares.items() if key[0] == name)
        for name in {name for name, _ in shares}
    }


async def test_of_a_stream_what_is_set_is_written_as_units_are(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PART_NS", 0)
    monkeypatch.setattr(waiting, "NOTED_NS", 0)

    async def endpoint(request: Request) -> Response:
        meterline.set_subject("acct_1")

        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            meterline.set_total("seats", 12)
            server.sidecar.wait_for_events(1)
            yield b"y"
            meterline.set_total("seats", 13)

        return StreamingResponse(chunks())

    events = await server.serve(endpoint, n_events=2)

    assert [event.quantities for event in events] == [{"seats": 12}, {"seats": 13}]


async def test_after_the_answer_and_outside_it_is_an_event_of_its_own(
    server: Server,
) -> None:
    def endpoint(request: Request) -> Response:
        return Response(background=BackgroundTask(meterline.set_total, "seats", 2))

    await server.serve(endpoint, n_events=2)
    meterline.set_total("seats", 3)

    *_, late, stray = server.sidecar.wait_for_events(3)
    assert (late.quantities, late.route) == ({"seats": 2}, "/it")
    assert (stray.quantities, stray.flags) == ({"seats": 3}, Flag.STRAY)


@pytest.mark.parametrize("bad", [-1, 1.5, True, None, "x"])
async def test_a_total_that_cannot_be_taken_leaves_what_there_was(
    server: Server, bad: Any
) -> None:
    def endpoint(request: Request) -> Response:
        meterline.record("seats", 4)
        meterline.set_total("seats", bad)
        return Response()

    (event,) = await server.serve(endpoint)

    assert (event.quantities, event.flags) == ({"seats": 4}, Flag.BAD_QUANTITY)


async def test_totals_at_their_limits_are_within_bounds(server: Server) -> None:
    def endpoint(request: Request) -> Response:
        meterline.set_total("n", QUANTITY_MAX)
        meterline.set_total("n", 1, of="part")  # the sum would be too large
        for i in range(PARTS_MAX + 2):
            meterline.set_total("m", i, of=i)
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities is not None
    assert event.quantities["n"] == QUANTITY_MAX
    assert event.flags == Flag.BAD_QUANTITY | Flag.BAD_PROPERTY
    parts = event.parts or []
    assert len(parts) == PARTS_MAX
    assert sum(int(part.amount) for part in parts if part.quantity == "m") <= int(
        event.quantities["m"]
    )
