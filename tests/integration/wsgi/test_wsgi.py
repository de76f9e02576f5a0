"""WSGI apps of no framework: what an event says, and whose what is recorded is."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

import meterline
from meterline.asgi_types import Receive, Scope, Send
from meterline.events import Flag, Kind
from meterline.handle import current_event
from meterline.usage_event import Part
from tests.asgi_driver import call as call_asgi
from tests.fake_sidecar import FakeSidecar
from tests.integration.wsgi.conftest import Metered, call
from tests.patience import PATIENCE_S


def plain(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello, ", b"world"]


def test_a_request_is_one_event(metered: Metered, sidecar: FakeSidecar) -> None:
    answer = call(metered(plain), "/items/5")

    (event,) = sidecar.wait_for_events(1)
    assert answer == ("200 OK", b"hello, world")
    assert (event.kind, event.method, event.status) == (Kind.REQUEST, "GET", 200)
    assert (event.bytes_in, event.bytes_out, event.flags) == (0, 12, 0)
    assert (event.subject, event.route, event.quantities) == (None, None, None)


def test_what_the_client_sends_counts_as_it_is_read(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    def reads(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["wsgi.input"].read(5)
        environ["wsgi.input"].readline()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"read"]

    call(metered(reads), body=b"12345678\nnot read", REQUEST_METHOD="POST")

    (event,) = sidecar.wait_for_events(1)
    assert (event.method, event.bytes_in) == ("POST", 9)


def test_what_a_generator_records_is_its_requests(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    def streams(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        meterline.set_subject(environ["PATH_INFO"][1:])
        for i in range(3):
            meterline.record("tokens", i + 1)
            yield b"x"

    app = metered(streams)
    first = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/acme"}, _start)
    second = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/bolt"}, _start)
    # One server thread goes through both in turns, and another one closes them.
    pieces = [piece for both in zip(first, second, strict=True) for piece in both]
    closing = threading.Thread(target=lambda: [first.close(), second.close()])  # type: ignore[attr-defined]
    closing.start()
    closing.join()

    events = sidecar.wait_for_events(2)
    assert pieces == [b"x"] * 6
    assert {(event.subject, str(event.quantities)) for event in events} == {
        ("acme", "{'tokens': 6}"),
        ("bolt", "{'tokens': 6}"),
    }
    assert current_event.get() is None


def _start(status: str, headers: Any, exc_info: Any = None) -> Any:
    written: list[bytes] = []
    return written.append


def _missing(environ: dict[str, Any]) -> str:
    return str(environ["no such thing"])


def _inside(environ: dict[str, Any]) -> str:
    return "inside"


def test_a_client_that_leaves_is_seen(metered: Metered, sidecar: FakeSidecar) -> None:
    closed: list[bool] = []

    def streams(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            for _ in range(100):
                meterline.record("chunks", 1)
                yield b"12345"
        finally:
            closed.append(True)

    call(metered(streams), pieces=2)

    (event,) = sidecar.wait_for_events(1)
    assert closed == [True]
    assert (event.status, event.flags) == (200, Flag.INCOMPLETE)
    assert event.quantities == {"chunks": 2}
    assert event.bytes_out == 10


def test_an_error_of_the_app_passes_and_is_a_500(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    def at_once(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    def begun(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"so far"
        raise ZeroDivisionError

    for app in (at_once, begun):
        with pytest.raises(ZeroDivisionError):
            call(metered(app))

    events = sidecar.wait_for_events(2)
    assert [(event.status, event.flags) for event in events] == [
        (500, Flag.ERROR),
        (200, Flag.ERROR),
    ]
    assert current_event.get() is None


def test_an_app_that_writes_is_counted(metered: Metered, sidecar: FakeSidecar) -> None:
    def writes(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [("Content-Type", "text/plain")])
        write(b"old ")
        return [b"style"]

    answer = call(metered(writes))

    (event,) = sidecar.wait_for_events(1)
    assert (answer.body, event.bytes_out) == (b"old style", 9)


def test_a_late_answer_of_an_error_handler_is_the_status(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    def handles(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        error = LookupError()
        seen = (LookupError, error, None)
        start_response("404 Not Found", [("Content-Type", "text/plain")], seen)
        return [b"no"]

    assert call(metered(handles)).status == "404 Not Found"

    (event,) = sidecar.wait_for_events(1)
    assert event.status == 404


def test_a_subject_is_asked_for_while_the_app_knows_it(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    asked: list[str] = []
    during = threading.local()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        during.user = environ["PATH_INFO"][1:]
        try:
            return plain(environ, start_response)
        finally:
            del during.user

    def subject(environ: dict[str, Any]) -> str:
        asked.append(during.user)
        return str(during.user)

    call(metered(app, subject=subject), "/acme")

    (event,) = sidecar.wait_for_events(1)
    assert (event.subject, asked) == ("acme", ["acme"])


@pytest.mark.parametrize(
    ("resolver", "environ", "subject"),
    [
        (None, {"REMOTE_USER": "ada"}, "ada"),
        (None, {"HTTP_REMOTE_USER": "mallory"}, None),
        (meterline.from_trusted_header("X-Account"), {"HTTP_X_ACCOUNT": "a1"}, "a1"),
        (meterline.from_trusted_header("X-Account"), {"HTTP_X_ACCOUNT": "a,b"}, None),
        (meterline.from_trusted_header("X-Account"), {}, None),
        (
            meterline.from_api_key(key="k" * 16),
            {"HTTP_AUTHORIZATION": "Bearer secret"},
            meterline.api_key_subject("secret", key="k" * 16),
        ),
    ],
)
def test_ready_made_resolvers_read_an_environ(
    metered: Metered,
    sidecar: FakeSidecar,
    resolver: Any,
    environ: dict[str, Any],
    subject: str | None,
) -> None:
    call(metered(plain, subject=resolver), **environ)

    (event,) = sidecar.wait_for_events(1)
    assert (event.subject, event.flags) == (subject, 0)


def test_a_resolver_that_raises_costs_the_subject_and_nothing_else(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    answer = call(metered(plain, subject=_missing))

    (event,) = sidecar.wait_for_events(1)
    assert answer.body == b"hello, world"
    assert (event.subject, event.flags) == (None, Flag.BAD_SUBJECT)


def test_of_two_that_are_nested_the_outer_one_meters(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    inner = metered(plain, subject=_inside)

    call(metered(inner))

    (event,) = sidecar.wait_for_events(1)
    assert event.subject == "inside"


async def test_inside_an_asgi_app_that_is_metered_it_is_that_apps_request(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    options = metered(plain).meter.options
    inner = metered(plain)

    async def mounts(scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a WSGI app in a thread, as the bridges between the two do."""
        answer = await asyncio.to_thread(call, inner, scope["path"])
        await PlainTextResponse(answer.body)(scope, receive, send)

    app = meterline.MeterMiddleware(
        mounts, socket=options.socket, spool_dir=options.spool_dir
    )

    await call_asgi(app, path="/old/x")

    (event,) = sidecar.wait_for_events(1)
    assert event.bytes_out == 12
    app.meter.close(timeout_s=PATIENCE_S)


def test_a_file_is_left_to_the_server(metered: Metered, sidecar: FakeSidecar) -> None:
    class Wrapper:
        def __init__(self, filelike: Any, block: int = 8192) -> None:
            self.filelike = filelike

        def __iter__(self) -> Iterator[bytes]:
            return iter(self.filelike)

    def sends(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        file = Path(__file__).open("rb")  # noqa: SIM115 - the server closes it
        file.seek(10)
        return environ["wsgi.file_wrapper"](file)

    given = metered(sends)(
        {"REQUEST_METHOD": "GET", "wsgi.file_wrapper": Wrapper}, _start
    )

    (event,) = sidecar.wait_for_events(1)
    assert isinstance(given, Wrapper)
    assert event.bytes_out == len(b"".join(given))
    given.filelike.close()


def test_a_single_piece_keeps_its_length(metered: Metered) -> None:
    def single(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"one"]

    given: Any = metered(single)({"REQUEST_METHOD": "GET"}, _start)

    assert len(given) == 1
    given.close()


def test_requests_are_left_out_as_those_of_asgi_apps(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response(
            "404 Not Found" if environ["PATH_INFO"] == "/gone" else "200 OK",
            [("Content-Type", "text/plain")],
        )
        if environ["PATH_INFO"] == "/skips":
            meterline.skip()
        yield b"a"
        meterline.record("n", 1)

    metering = metered(app, exclude=["/healthz", "/caf\xe9/*", "OPTIONS", 404])
    paths = ("/healthz", "/caf\xc3\xa9/x", "/gone", "/skips", "/paid")
    bodies = [call(metering, path).body for path in paths]
    call(metering, "/paid", REQUEST_METHOD="OPTIONS")

    assert bodies == [b"a"] * 5
    assert metering.meter.flush(timeout_s=PATIENCE_S)
    assert [(e.status, e.quantities) for e in sidecar.events] == [(200, {"n": 1})]
    assert metering.stats.excluded == 5


def test_properties_are_those_of_asgi_apps(
    metered: Metered, sidecar: FakeSidecar
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        meterline.set_property("tenant", "eu-1")
        meterline.record("n", 5, model="large")
        yield b"x"
        meterline.current().record("n", 6)

    call(metered(app))

    (event,) = sidecar.wait_for_events(1)
    assert (event.quantities, event.properties) == ({"n": 11}, {"tenant": "eu-1"})
    assert event.parts == [Part("n", 5, {"model": "large"})]
