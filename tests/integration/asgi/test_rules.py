"""One test for each rule of docs/recorded.md: what is recorded in which situation."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

import meterline
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.events import QUANTITY_MAX, Flag, Kind
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call, http_scope
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered

CHUNK = b"x" * 1000


def starlette(endpoint: Any, **options: Any) -> Starlette:
    return Starlette(routes=[Route("/it", endpoint, **options)])


class Case:
    """Serves one request and gives the one event that it made."""

    def __init__(self, sidecar: FakeSidecar, metered: Metered) -> None:
        self._sidecar = sidecar
        self._metered = metered

    async def __call__(self, app: ASGIApp, **request: Any) -> UsageEvent:
        await call(self._metered(app), "/it", **request)
        return self.event()

    def event(self) -> UsageEvent:
        (event,) = self._sidecar.wait_for_events(1)
        return event


@pytest.fixture
def case(sidecar: FakeSidecar, metered: Metered) -> Case:
    return Case(sidecar, metered)


# --- streaming and clients that leave


async def test_a_stream_is_recorded_at_its_last_byte_with_all_its_bytes(
    case: Case,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            await asyncio.sleep(0.01)
            yield CHUNK

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    event = await case(starlette(endpoint))

    assert (event.status, event.bytes_out, event.flags) == (200, 5000, 0)
    assert event.duration_us >= 50_000


async def test_a_client_that_leaves_in_the_middle_makes_an_incomplete_event(
    case: Case,
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0)
            yield CHUNK

    async def endpoint(request: Request) -> Response:
        return StreamingResponse(chunks())

    event = await case(starlette(endpoint), leaves_after=3)

    assert event.status == 200
    assert event.bytes_out >= 2000
    assert event.flags == Flag.INCOMPLETE


async def test_a_client_that_leaves_before_the_response_makes_an_incomplete_event(
    case: Case,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"

    event = await case(app, leaves_after=0)

    assert (event.status, event.bytes_out) == (0, 0)
    assert event.flags == Flag.INCOMPLETE


async def test_an_app_that_goes_on_after_its_client_left_is_still_incomplete(
    case: Case,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await PlainTextResponse("to nobody")(scope, receive, send)

    event = await case(app, leaves_after=0)

    assert (event.status, event.flags) == (200, Flag.INCOMPLETE)


async def test_a_server_that_raises_to_a_sender_makes_an_incomplete_event(
    case: Case, metered: Metered
) -> None:
    class ClientDisconnected(OSError):
        """As uvicorn names it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            raise ClientDisconnected

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises(ClientDisconnected):
        await metered(app)(http_scope("/it"), receive, send)

    assert case.event().flags == Flag.INCOMPLETE


# --- errors


async def test_an_error_before_the_response_is_a_500(case: Case) -> None:
    async def endpoint(request: Request) -> Response:
        raise LookupError("of the app")

    app = starlette(endpoint)
    inner = app.build_middleware_stack().app  # type: ignore[attr-defined]

    with pytest.raises(LookupError, match="of the app"):
        await case(inner)

    event = case.event()
    assert (event.status, event.bytes_out, event.flags) == (500, 0, Flag.ERROR)
    assert event.route == "/it"


async def test_outside_of_the_error_handler_the_real_error_response_is_recorded(
    case: Case,
) -> None:
    async def endpoint(request: Request) -> Response:
        raise LookupError("of the app")

    async def apologise(request: Request, error: Exception) -> Response:
        return PlainTextResponse("sorry", status_code=503)

    app = starlette(endpoint)
    app.add_exception_handler(Exception, apologise)

    with pytest.raises(LookupError):  # Starlette raises it again for the server's log
        await case(app)

    event = case.event()
    assert (event.status, event.bytes_out, event.flags) == (503, 5, 0)


async def test_an_error_after_the_start_keeps_the_status_and_bytes_that_went_out(
    case: Case,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"5000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
        raise LookupError

    with pytest.raises(LookupError):
        await case(app)

    event = case.event()
    assert (event.status, event.bytes_out, event.flags) == (200, 1000, Flag.ERROR)


async def test_a_cancelled_request_is_recorded_as_such(case: Case) -> None:
    has_begun = asyncio.Event()

    async def endpoint(request: Request) -> Response:
        has_begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    task = asyncio.ensure_future(case(starlette(endpoint)))
    await has_begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    event = case.event()
    assert (event.status, event.flags) == (0, Flag.CANCELLED)
    assert event.route == "/it"


async def test_a_background_task_is_neither_waited_for_nor_timed(case: Case) -> None:
    seen: list[UsageEvent] = []

    async def later() -> None:
        seen.append(await asyncio.to_thread(case.event))  # the event is there already

    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("soon", background=BackgroundTask(later))

    event = await case(starlette(endpoint))

    assert seen == [event]
    assert event.flags == 0


async def test_what_a_background_task_records_is_an_event_of_its_own(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    def later() -> None:
        meterline.record("tokens", 7)

    async def endpoint(request: Request) -> Response:
        meterline.set_subject("acct_1")
        return PlainTextResponse("soon", background=BackgroundTask(later))

    await call(metered(starlette(endpoint)), "/it")

    request, use = sidecar.wait_for_events(2)
    assert (request.kind, request.quantities) == (Kind.REQUEST, None)
    assert (use.kind, use.quantities) == (Kind.USE, {"tokens": 7})
    assert (use.subject, use.route) == ("acct_1", "/it")
    assert (use.method, use.status) == ("GET", 200)


# --- what has no body


async def test_head_is_recorded_with_its_own_method(case: Case) -> None:
    async def endpoint(request: Request) -> Response:
        return PlainTextResponse("hello")

    event = await case(starlette(endpoint), method="HEAD")

    # The sidecar knows that the server strips this body: see its intake.
    assert (event.method, event.status, event.bytes_out) == ("HEAD", 200, 5)


@pytest.mark.parametrize("status", [204, 304])
async def test_a_response_without_a_body_has_no_bytes(case: Case, status: int) -> None:
    async def endpoint(request: Request) -> Response:
        return Response(status_code=status)

    event = await case(starlette(endpoint))

    assert (event.status, event.bytes_out, event.flags) == (status, 0, 0)


async def test_a_wrong_method_takes_no_route(case: Case) -> None:
    async def endpoint(request: Request) -> Response:
        raise AssertionError

    event = await case(starlette(endpoint, methods=["POST"]), method="DELETE")

    assert (event.status, event.method, event.route) == (405, "DELETE", None)


async def test_a_method_that_nobody_knows_is_recorded_if_it_is_short(
    case: Case, sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(starlette(leave_it))
    await call(metering, "/it", method="PROPFIND")
    await call(metering, "/it", method="X" * 33)

    assert [event.method for event in sidecar.wait_for_events(2)] == ["PROPFIND", None]


# --- request bodies


async def read_it(request: Request) -> Response:
    await request.body()
    return Response()


async def leave_it(request: Request) -> Response:
    return Response()


async def test_a_body_without_a_length_is_counted_as_it_is_read(case: Case) -> None:
    app = starlette(read_it, methods=["POST"])

    event = await case(app, method="POST", body=[CHUNK, CHUNK, b"end"])

    assert event.bytes_in == 2003


async def test_a_body_that_is_read_counts_by_what_came_not_by_its_header(
    case: Case,
) -> None:
    app = starlette(read_it, methods=["POST"])

    event = await case(
        app, method="POST", body=[CHUNK], headers=[("content-length", "9")]
    )

    assert event.bytes_in == 1000


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "QUERY"])
@pytest.mark.parametrize(
    "length", ["1000", f"{QUANTITY_MAX}", "9" * 5_000, "0" * 5_000 + "7", "-1", "²", ""]
)
async def test_a_body_that_nobody_read_counts_nothing_whatever_was_announced(
    case: Case, method: str, length: str
) -> None:
    app = starlette(leave_it, methods=[method])

    event = await case(app, method=method, headers=[("content-length", length)])

    assert event.bytes_in == 0


# --- gzip, files, other messages


async def compressible(request: Request) -> Response:
    return PlainTextResponse(CHUNK)


async def test_outside_of_gzip_the_bytes_on_the_wire_count(case: Case) -> None:
    app = GZipMiddleware(starlette(compressible))

    event = await case(app, headers=[("accept-encoding", "gzip")])

    assert 0 < event.bytes_out < 100


async def test_inside_of_gzip_the_bytes_of_the_app_count(
    case: Case, metered: Metered
) -> None:
    app = GZipMiddleware(metered(starlette(compressible)))

    await call(app, "/it", headers=[("accept-encoding", "gzip")])

    assert case.event().bytes_out == 1000


async def test_a_file_that_the_server_sends_counts_by_its_size(
    case: Case, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(CHUNK)

    async def endpoint(request: Request) -> Response:
        return FileResponse(file)

    event = await case(starlette(endpoint), extensions={"http.response.pathsend": {}})

    assert (event.bytes_out, event.flags) == (1000, 0)


async def test_zero_copy_sends_count(case: Case, tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        copy = {"type": "http.response.zerocopysend", "file": 0, "count": 600}
        await send({**copy, "more_body": True})
        await send({**copy, "count": 400})

    event = await case(app)

    assert (event.bytes_out, event.flags) == (1000, 0)


async def test_trailers_and_hints_change_nothing(case: Case) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        start: Message = {"type": "http.response.start", "status": 200, "headers": []}
        await send({**start, "trailers": True})
        await send({"type": "http.response.body", "body": b"hello"})
        await send({"type": "http.response.trailers", "headers": []})

    event = await case(app)

    assert (event.status, event.bytes_out, event.flags) == (200, 5, 0)


async def test_an_app_that_answers_nothing_is_incomplete(case: Case) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    event = await case(app)

    assert (event.status, event.flags) == (0, Flag.INCOMPLETE)


# --- nested, concurrent, lifespan


async def test_of_two_nested_middlewares_only_the_outer_one_records(
    case: Case, metered: Metered
) -> None:
    event = await case(metered(starlette(compressible)))

    assert event.bytes_out == 1000


async def test_requests_at_the_same_time_do_not_mix(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    async def endpoint(request: Request) -> Response:
        number = int(request.query_params["n"])
        meterline.set_subject(f"acct_{number}")
        await asyncio.sleep(0)
        meterline.record("n", number)
        await asyncio.sleep(0)
        return PlainTextResponse(b"x" * number)

    metering = metered(starlette(endpoint))
    queries = [f"n={i}".encode() for i in range(200)]
    await asyncio.gather(*(call(metering, "/it", query_string=q) for q in queries))

    events = sidecar.wait_for_events(200)
    assert sorted(event.bytes_out for event in events) == list(range(200))
    for event in events:
        assert event.subject == f"acct_{event.bytes_out}"
        assert event.quantities == {"n": event.bytes_out}


async def test_lifespan_passes_through_and_its_end_ships_what_is_left(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    metering = metered(starlette(compressible))
    sent: list[str] = []
    messages = ["lifespan.startup", "lifespan.shutdown"]

    async def receive() -> Message:
        if sent:
            await call(metering, "/it")
        return {"type": messages.pop(0)}

    async def send(message: Message) -> None:
        if message["type"] == "lifespan.shutdown.complete":
            assert len(sidecar.events) == 1
        sent.append(message["type"])

    await metering({"type": "lifespan", "asgi": {}, "state": {}}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    sidecar.assert_complete()


async def test_an_app_without_lifespan_fails_as_it_does_alone(
    metered: Metered,
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"

    with pytest.raises(AssertionError):
        await metered(app)({"type": "lifespan"}, _nothing, _ignore)


async def _nothing() -> Message:
    raise AssertionError


async def _ignore(message: Message) -> None:
    pass


# --- websockets


async def echo(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text + "!")


def websocket_scope(path: str) -> Scope:
    return http_scope(path, type="websocket", subprotocols=[])


async def converse(app: ASGIApp, *incoming: Message, path: str = "/ws/7") -> list[str]:
    to_receive: list[Message] = [{"type": "websocket.connect"}, *incoming]
    sent: list[str] = []

    async def receive() -> Message:
        return to_receive.pop(0)

    async def send(message: Message) -> None:
        sent.append(message["type"])

    await app(websocket_scope(path), receive, send)
    return sent


async def test_a_websocket_is_one_event_when_it_closes_with_bytes_each_way(
    case: Case, metered: Metered
) -> None:
    app = Starlette(routes=[WebSocketRoute("/ws/{room}", echo)])

    await converse(
        metered(app),
        {"type": "websocket.receive", "text": "héllo"},
        {"type": "websocket.receive", "text": "you"},
        {"type": "websocket.disconnect", "code": 1000},
    )

    event = case.event()
    assert (event.kind, event.method, event.status) == (Kind.WEBSOCKET, "GET", 101)
    assert event.route == "/ws/{room}"
    assert (event.bytes_in, event.bytes_out, event.flags) == (9, 11, 0)


async def test_a_websocket_that_is_refused_is_a_403(
    case: Case, metered: Metered
) -> None:
    app = Starlette(routes=[WebSocketRoute("/ws/{room}", echo)])

    await converse(metered(app), path="/nowhere")

    event = case.event()
    assert (event.kind, event.status, event.route) == (Kind.WEBSOCKET, 403, None)


async def test_a_websocket_whose_app_fails_is_an_error(
    case: Case, metered: Metered
) -> None:
    async def fail(websocket: WebSocket) -> None:
        await websocket.accept()
        raise LookupError

    app = Starlette(routes=[WebSocketRoute("/ws/{room}", fail)])
    with pytest.raises(LookupError):
        await converse(metered(app))

    event = case.event()
    assert (event.status, event.flags) == (101, Flag.ERROR)


# --- other event loops


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_works_on_asyncio_and_trio(
    backend: str, metered: Metered, sidecar: FakeSidecar
) -> None:
    def sync_endpoint(request: Request) -> Response:
        meterline.record("tokens", 3)
        return PlainTextResponse("from a thread")

    metering = metered(starlette(sync_endpoint))
    anyio.run(call, metering, "/it", backend=backend)

    (event,) = sidecar.wait_for_events(1)
    assert (event.status, event.quantities) == (200, {"tokens": 3})


def test_a_cancelled_trio_task_is_recorded_as_cancelled(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    async def endpoint(request: Request) -> Response:
        await anyio.sleep_forever()
        raise AssertionError

    metering = metered(starlette(endpoint))

    async def serve() -> None:
        with anyio.move_on_after(0.05):
            await call(metering, "/it")

    anyio.run(serve, backend="trio")

    (event,) = sidecar.wait_for_events(1)
    assert event.flags == Flag.CANCELLED
