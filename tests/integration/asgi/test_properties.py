"""What tells the quantities of a request apart, from wherever it is said."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import meterline
from meterline import open_event, waiting
from meterline.events import PARTS_MAX, Flag, Kind
from meterline.usage_event import Part, UsageEvent
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.patience import PATIENCE_S


class Server:
    """Serves requests by endpoints, and has their events."""

    def __init__(self, sidecar: FakeSidecar, metered: Metered) -> None:
        self.sidecar = sidecar
        self._metered = metered

    async def serve(self, endpoint: Any, *, n_events: int = 1) -> list[UsageEvent]:
        self.metering = self._metered(Starlette(routes=[Route("/it", endpoint)]))
        await call(self.metering, "/it")
        return self.sidecar.wait_for_events(n_events)


@pytest.fixture
def server(sidecar: FakeSidecar, metered: Metered) -> Server:
    return Server(sidecar, metered)


async def test_records_with_properties_are_parts_of_their_total(server: Server) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.record("tokens", 512, model="large", region="eu")
        meterline.record("tokens", 100, model="small")
        meterline.record("tokens", 8, region="eu", model="large")
        meterline.record("tokens", 5)
        meterline.record("images", 1, hd=True, steps=30)
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities == {"tokens": 625, "images": 1}
    assert event.properties is None
    assert event.parts == [
        Part("tokens", 520, {"model": "large", "region": "eu"}),
        Part("tokens", 100, {"model": "small"}),
        Part("images", 1, {"hd": "true", "steps": "30"}),
    ]
    assert event.flags == 0


async def test_a_property_of_the_event_may_be_all_that_it_has(server: Server) -> None:
    def endpoint(request: Request) -> Response:
        meterline.set_property("tenant", "us-1")
        meterline.set_property("tenant", "eu-1")
        return Response()

    (event,) = await server.serve(endpoint)

    assert (event.properties, event.parts) == ({"tenant": "eu-1"}, None)
    assert (event.quantities, event.flags) == (None, 0)


async def test_a_handle_says_it_from_any_thread(server: Server) -> None:
    async def endpoint(request: Request) -> Response:
        event = meterline.current()

        def work() -> None:
            event.record("n", 5, model="large")
            event.set_property("tenant", "eu-1")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.properties == {"tenant": "eu-1"}
    assert event.parts == [Part("n", 5, {"model": "large"})]


async def test_what_comes_after_the_response_is_a_use_with_both(
    server: Server,
) -> None:
    async def later() -> None:
        meterline.record("n", 5, model="large", tenant="its own")
        meterline.set_property("tenant", "eu-2")
        meterline.record("n", 6)

    async def endpoint(request: Request) -> Response:
        meterline.set_property("tenant", "eu-1")
        meterline.set_property("plan", "pro")
        return PlainTextResponse("ok", background=BackgroundTask(later))

    request, first, second = await server.serve(endpoint, n_events=3)

    assert request.properties == {"tenant": "eu-1", "plan": "pro"}
    assert (first.kind, first.parts) == (Kind.USE, None)
    assert first.properties == {"tenant": "its own", "plan": "pro", "model": "large"}
    assert second.properties == {"tenant": "eu-2", "plan": "pro"}
    assert open_event.PROPERTY_TOO_LATE in server.metering.stats.complaints


async def test_a_handle_kept_for_later_knows_the_properties(server: Server) -> None:
    kept: list[meterline.Handle] = []

    async def endpoint(request: Request) -> Response:
        meterline.set_property("tenant", "eu-1")
        meterline.record("n", 1, model="small")
        kept.append(meterline.current())
        return Response()

    await server.serve(endpoint)
    kept[0].record("n", 5, model="large")
    kept[0].record("n", 6)

    assert server.metering.meter.flush(timeout_s=PATIENCE_S)
    _, first, second = server.sidecar.events
    assert first.properties == {"tenant": "eu-1", "model": "large"}
    assert second.properties == {"tenant": "eu-1"}
    assert (first.parts, second.parts) == (None, None)


async def test_what_is_no_property_is_left_out_and_its_quantity_counts(
    server: Server,
) -> None:
    async def endpoint(request: Request) -> Response:
        wrong: Any = 1.5
        meterline.record("n", 1, model=wrong)
        meterline.record("n", 2, model="large", region="")
        meterline.record("n", 4, **{"subject": "acme", "Model": "x", "name": "fine"})
        meterline.set_property("tenant", wrong)
        meterline.set_property("route", "/free")
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities == {"n": 7}
    assert event.parts == [
        Part("n", 2, {"model": "large"}),
        Part("n", 4, {"name": "fine"}),
    ]
    assert (event.properties, event.route, event.subject) == (None, "/it", None)
    assert event.flags == Flag.BAD_PROPERTY
    assert sum(server.metering.stats.complaints.values()) == 5


async def test_more_parts_than_there_is_room_for_count_without_properties(
    server: Server,
) -> None:
    async def endpoint(request: Request) -> Response:
        for n in range(PARTS_MAX + 3):
            meterline.record("n", 1, of=n)
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities == {"n": PARTS_MAX + 3}
    assert sum(int(part.amount) for part in event.parts or []) == PARTS_MAX
    assert event.flags == Flag.BAD_PROPERTY


async def test_a_bad_quantity_has_no_part(server: Server) -> None:
    class Changing:
        n = 0

        def __index__(self) -> int:
            self.n += 5
            return self.n

    async def endpoint(request: Request) -> Response:
        changing: Any = Changing()
        meterline.record("n", -1, model="large")
        meterline.record("n", changing, model="large")
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities == {"n": 5}
    assert event.parts == [Part("n", 5, {"model": "large"})]
    assert event.flags == Flag.BAD_QUANTITY


async def test_without_properties_an_event_is_the_bytes_that_it_was(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.record("n", 5)
        return Response()

    metering = metered(Starlette(routes=[Route("/it", endpoint)]))
    seen: list[bytes] = []
    metering.meter.open()
    metering.meter.append = seen.append

    await call(metering, "/it")
    metering.meter.record("n", 5)

    assert [len(msgspec.msgpack.decode(payload)) for payload in seen] == [11, 11]


async def test_outside_of_a_request_a_use_keeps_its_properties(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    metering = metered(Starlette())

    meterline.record("n", 5, model="large")
    meterline.set_property("tenant", "eu-1")

    metering.meter.flush(timeout_s=PATIENCE_S)
    (event,) = sidecar.wait_for_events(1)
    assert (event.properties, event.flags) == ({"model": "large"}, Flag.STRAY)


async def test_a_request_that_is_left_out_takes_no_properties(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.set_property("tenant", "eu-1")
        meterline.skip()
        meterline.set_property("plan", "pro")
        meterline.record("n", 1, model="x")
        return Response()

    app = Starlette(routes=[Route("/it", endpoint), Route("/no", endpoint)])
    metering = metered(app, exclude=["/no"])
    await call(metering, "/it")
    await call(metering, "/no")

    metering.meter.flush(timeout_s=PATIENCE_S)
    assert sidecar.events == []
    assert metering.stats.excluded == 2


async def test_parts_of_an_open_stream_reach_the_spool_with_its_units(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PART_NS", 50_000_000)
    monkeypatch.setattr(waiting, "NOTED_NS", 10_000_000)

    async def endpoint(request: Request) -> Response:
        meterline.set_subject("acme")
        meterline.set_property("tenant", "eu-1")

        async def chunks() -> AsyncIterator[bytes]:
            meterline.record("n", 1, model="large")
            yield b"x"
            server.sidecar.wait_for_events(1)
            meterline.record("n", 10, model="large")
            meterline.record("n", 100)

        return StreamingResponse(chunks())

    part, whole = await server.serve(endpoint, n_events=2)

    assert (part.flags, part.properties) == (Flag.OF_REQUEST, {"tenant": "eu-1"})
    assert part.parts == [Part("n", 1, {"model": "large"})]
    assert (whole.quantities, whole.properties) == ({"n": 110}, {"tenant": "eu-1"})
    assert whole.parts == [Part("n", 10, {"model": "large"})]


async def test_threads_that_record_at_once_lose_no_part(server: Server) -> None:
    n_threads, n_each = 4, 2_000

    async def endpoint(request: Request) -> Response:
        event = meterline.current()

        def work(model: str) -> None:
            for _ in range(n_each):
                event.record("n", 1, model=model)

        threads = [
            threading.Thread(target=work, args=(f"m{i % 2}",)) for i in range(n_threads)
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0)
        return Response()

    (event,) = await server.serve(endpoint)

    assert event.quantities == {"n": n_threads * n_each}
    assert sorted(
        (part.properties["model"], part.amount) for part in event.parts or []
    ) == [
        ("m0", 2 * n_each),
        ("m1", 2 * n_each),
    ]


def test_a_meters_use_has_properties_of_the_whole_event(
    sidecar: FakeSidecar, tmp_path: Any
) -> None:
    wrong: Any = None
    with meterline.Meter(socket=sidecar.path, spool_dir=tmp_path / "spool") as meter:
        meter.record("tokens", 5, subject="acct_1", model="large", region=wrong)
        meter.record("tokens", 6, model="small")
        complaints = meter.stats.complaints

    first, second = sidecar.events
    assert (first.subject, first.properties) == ("acct_1", {"model": "large"})
    assert (first.flags, second.flags) == (Flag.BAD_PROPERTY, 0)
    assert (second.properties, second.parts) == ({"model": "small"}, None)
    assert len(complaints) == 1
