"""What is left out makes no event, is counted, and changes nothing for others."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import meterline
from meterline import NOISE, Handle, MeterMiddleware, from_trusted_header, waiting
from meterline.asgi_types import Message
from meterline.events import Kind
from meterline.open_event import IN_EXCLUDED, SKIPPED_TOO_LATE
from meterline.stray import OUTSIDE, outside
from tests.asgi_driver import call, http_scope
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.patience import PATIENCE_S

WHO = "x-who"
handles: list[Handle] = []


async def ok(request: Request) -> Response:
    return PlainTextResponse("ok")


async def uses(request: Request) -> Response:
    meterline.record("n", 1)
    return PlainTextResponse("ok")


async def skips(request: Request) -> Response:
    meterline.record("n", 1)
    meterline.set_subject("acct_1")
    meterline.skip()
    meterline.skip()
    meterline.set_subject("acct_2")
    return PlainTextResponse("ok")


async def fails(request: Request) -> Response:
    meterline.record("n", 1)
    raise RuntimeError("broken")


def app() -> Starlette:
    return Starlette(
        routes=[
            Route("/healthz", ok),
            Route("/v1/items/{id}", uses),
            Route("/v1/things", ok),
            Route("/uses", uses),
            Route("/skips", skips),
            Route("/fails", fails),
        ]
    )


def left(metering: MeterMiddleware, sidecar: FakeSidecar) -> list[tuple[Any, int]]:
    """Return the route and status of every event, once all have come."""
    assert metering.meter.flush(timeout_s=PATIENCE_S)
    return [(event.route, event.status) for event in sidecar.events]


async def test_paths_and_methods_make_no_event(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app(), exclude=[*NOISE, "/internal/*"])

    answer = await call(metering, "/healthz")
    await call(metering, "/internal/any/thing")
    await call(metering, "/v1/things", method="OPTIONS")
    await call(metering, "/v1/things")

    assert (answer.status, answer.body) == (200, b"ok")
    assert left(metering, sidecar) == [("/v1/things", 200)]
    assert metering.stats.excluded == 3
    assert metering.stats.recorded == 1


async def test_the_sidecar_is_told_how_many_were_left_out(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app(), exclude=["/healthz", "/v1/items/{id}"])
    await call(metering, "/healthz")  # before there is a spool
    await call(metering, "/v1/things")
    assert left(metering, sidecar) == [("/v1/things", 200)]
    assert sidecar.excluded == 1

    await call(metering, "/healthz")
    await call(metering, "/v1/items/7")
    await call(metering, "/skips")
    metering.meter.close()  # which tells what no event came after

    assert sidecar.excluded == 4


async def test_routes_and_statuses_make_no_event(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app(), exclude=["/v1/items/{id:int}", "unmatched", "5xx"])

    await call(metering, "/v1/items/7")
    await call(metering, "/wp-login.php")
    with pytest.raises(RuntimeError, match="broken"):
        await call(metering, "/fails")
    await call(metering, "/v1/things")

    assert left(metering, sidecar) == [("/v1/things", 200)]
    assert metering.stats.excluded == 3
    assert metering.stats.complaints == {}


async def test_a_path_is_the_one_that_the_app_sees(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app(), exclude=["/healthz"])

    await call(metering, "/api/healthz", root_path="/api")
    await call(metering, "/healthz", root_path="/api")  # servers that strip it
    await call(metering, "/api/v1/things", root_path="/api")
    await call(metering, "/apihealthz", root_path="/api")

    assert left(metering, sidecar) == [("/v1/things", 200), (None, 404)]
    assert metering.stats.excluded == 2


async def test_a_handler_can_leave_its_request_out(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app())

    await call(metering, "/skips")
    await call(metering, "/v1/things")

    assert left(metering, sidecar) == [("/v1/things", 200)]
    assert metering.stats.excluded == 1
    assert metering.stats.complaints == {}


async def test_skip_after_the_response_is_a_complaint(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    async def late(request: Request) -> Response:
        return PlainTextResponse("ok", background=BackgroundTask(meterline.skip))

    metering = metered(Starlette(routes=[Route("/late", late)]))

    await call(metering, "/late")
    meterline.skip()

    assert left(metering, sidecar) == [("/late", 200)]
    assert metering.stats.excluded == 0
    assert metering.stats.complaints == {SKIPPED_TOO_LATE: 1}


async def test_what_is_recorded_after_skip_goes_too_and_is_said_once(
    sidecar: FakeSidecar, metered: Metered, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> None:
        meterline.record("n", 2)

    async def skip(request: Request) -> Response:
        event = meterline.current()
        handles.append(event)
        event.skip()
        meterline.record("n", 1)
        return PlainTextResponse("ok", background=BackgroundTask(later))

    metering = metered(Starlette(routes=[Route("/skip", skip)]))

    with caplog.at_level(logging.WARNING, "meterline"):
        await call(metering, "/skip")
        handles.pop().record("n", 4)

    assert left(metering, sidecar) == []
    assert metering.stats.complaints == {IN_EXCLUDED: 3}
    assert [record.message for record in caplog.records] == [
        f"meterline: {IN_EXCLUDED}; further ones are only counted"
    ]


async def test_uses_of_a_request_that_is_left_out_are_nobody_elses(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    inner = metered(app(), exclude=["/uses"])

    async def asks_itself(request: Request) -> Response:
        meterline.record("n", 10)
        await call(inner, "/uses")
        await call(inner, "/v1/items/7", headers=[(WHO, "inner")])
        meterline.record("n", 100)
        return PlainTextResponse("ok")

    who = from_trusted_header(WHO)
    outer = metered(Starlette(routes=[Route("/outer", asks_itself)]), subject=who)
    inner.resolver = who
    await call(outer, "/outer", headers=[(WHO, "outer")])
    await call(inner, "/uses")  # in the context of the request before it

    assert outer.meter.flush(timeout_s=PATIENCE_S)
    assert inner.meter.flush(timeout_s=PATIENCE_S)
    assert {e.subject: e.quantities for e in sidecar.events} == {
        "inner": {"n": 1},
        "outer": {"n": 110},
    }
    assert inner.stats.excluded == 2
    assert inner.stats.complaints == {IN_EXCLUDED: 2}


async def test_what_the_outer_of_two_leaves_out_the_inner_one_does_not_meter(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    inner = metered(app())
    outer = metered(Starlette(routes=[Mount("/in", inner)]), exclude=["/in/healthz"])

    await call(outer, "/in/healthz")
    await call(outer, "/in/v1/things")

    assert outer.meter.flush(timeout_s=PATIENCE_S)
    assert len(sidecar.events) == 1
    assert outer.stats.excluded == 1
    assert inner.stats.excluded == 0


async def test_websockets_are_left_out_as_requests_are(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        if websocket.url.path == "/skip":
            meterline.skip()
        await websocket.close()

    paths = ("/feed", "/skip", "/rooms/{id}", "/ws")
    routes = [WebSocketRoute(path, echo) for path in paths]
    metering = metered(Starlette(routes=routes), exclude=["/feed", "/rooms/{id}"])

    async def connect(path: str) -> None:
        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            """Nobody looks at what the app sends."""

        scope = http_scope(path, type="websocket", subprotocols=[])
        del scope["method"]
        await metering(scope, receive, send)

    for path in ("/feed", "/skip", "/rooms/7", "/ws"):
        await connect(path)

    assert left(metering, sidecar) == [("/ws", 101)]
    assert metering.stats.excluded == 3


async def test_an_open_stream_of_a_route_that_is_left_out_writes_no_parts(
    sidecar: FakeSidecar, metered: Metered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PART_NS", 0)
    monkeypatch.setattr(waiting, "NOTED_NS", 0)

    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            meterline.record("n", 1)
            for _ in range(2):
                yield b"x"
                # Meanwhile the shipping thread looks at what is open.
                assert metering.meter.flush(timeout_s=PATIENCE_S)

        return StreamingResponse(chunks())

    routes = [Route("/out/{id}", stream), Route("/in/{id}", stream)]
    who = from_trusted_header(WHO)
    metering = metered(Starlette(routes=routes), exclude=["/out/{id}"], subject=who)

    await call(metering, "/out/1", headers=[(WHO, "a")])
    await call(metering, "/in/1", headers=[(WHO, "a")])

    assert metering.meter.flush(timeout_s=PATIENCE_S)
    assert {event.route for event in sidecar.events} == {"/in/{id}"}
    assert [e.quantities for e in sidecar.events if e.kind == Kind.USE] == [{"n": 1}]
    assert metering.stats.excluded == 1


async def test_outside_of_a_request_skip_is_a_complaint(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = outside.counts[OUTSIDE]

    meterline.skip()
    meterline.current().skip()

    assert outside.counts[OUTSIDE] == before + 3
