"""The whole way of an event, from a request to a sidecar."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import meterline
from meterline import MeterMiddleware
from meterline.events import Kind
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.patience import PATIENCE_S


async def greet(request: Request) -> PlainTextResponse:
    meterline.set_subject("acct_1")
    meterline.record("tokens", 500)
    meterline.record("tokens", 12)
    return PlainTextResponse("hello")


app = Starlette(routes=[Route("/hello/{name}", greet, methods=["POST"])])


async def test_one_request_is_one_event_with_every_field(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app)

    response = await call(metering, "/hello/you", method="POST", body=[b"ab", b"c"])
    (event,) = sidecar.wait_for_events(1)

    assert response.body == b"hello"
    assert event.kind == Kind.REQUEST
    assert event.subject == "acct_1"
    assert (event.method, event.route) == ("POST", "/hello/{name}")
    assert (event.status, event.bytes_in, event.bytes_out) == (200, 0, 5)
    assert event.quantities == {"tokens": 512}
    assert event.flags == 0
    sidecar.assert_complete()


async def test_after_close_the_producer_has_said_goodbye_and_left_no_file(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app)
    for _ in range(100):
        await call(metering, "/hello/you", method="POST")

    metering.meter.close(timeout_s=PATIENCE_S)

    (ledger,) = sidecar.ledgers.values()
    assert ledger.is_closed
    assert len(ledger.events) == 100
    assert not list(Path(metering.meter.options.spool_dir).iterdir())


async def test_an_unknown_path_is_recorded_without_a_route(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(app)

    await call(metering, "/secret/path")
    (event,) = sidecar.wait_for_events(1)

    assert (event.status, event.route) == (404, None)


def test_the_one_line_works_without_any_argument() -> None:
    MeterMiddleware(app)
