"""The key by which a client tells a request that it sends again."""

from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import meterline
from meterline import wsgi
from meterline.events import Flag
from meterline.retries import retry_header
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.patience import PATIENCE_S


def endpoint(request: Request) -> Response:
    if request.url.path == "/props":
        meterline.set_property("tenant", "eu")
    return Response()


APP = Starlette(routes=[Route("/it", endpoint), Route("/props", endpoint)])


async def served(
    sidecar: FakeSidecar, metering: Any, *values: str, path: str = "/it"
) -> UsageEvent:
    headers = [("Idempotency-Key", value) for value in values]
    await call(metering, path, headers=headers)
    (event,) = sidecar.wait_for_events(1)
    return event


async def test_the_first_of_that_name_is_recorded(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(APP, idempotency_header="Idempotency-Key")

    event = await served(sidecar, metering, "k-1", "k-2")

    assert (event.external_id, event.flags) == ("k-1", 0)


async def test_it_stands_beside_properties(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    metering = metered(APP, idempotency_header="idempotency-key")

    event = await served(sidecar, metering, "k-1", path="/props")

    assert (event.external_id, event.properties) == ("k-1", {"tenant": "eu"})


async def test_without_the_option_nobody_looks(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    assert (await served(sidecar, metered(APP), "k-1")).external_id is None


@pytest.mark.parametrize(
    ("value", "key", "flags"),
    [
        ("", None, 0),
        ("x" * 257, None, Flag.BAD_ID),
        ("é", "Ã©", 0),
    ],  # bytes, as latin-1
)
async def test_whatever_a_client_sends_is_taken_or_flagged(
    sidecar: FakeSidecar, metered: Metered, value: str, key: str | None, flags: int
) -> None:
    metering = metered(APP, idempotency_header="Idempotency-Key")

    event = await served(sidecar, metering, value)

    assert (event.flags, event.external_id) == (flags, key)


def test_the_variable_says_it_for_apps_that_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METERLINE_IDEMPOTENCY_HEADER", "X-Request-Key")

    assert retry_header(None) == "x-request-key"
    assert retry_header("") is None
    assert retry_header("Idempotency-Key") == "idempotency-key"


@pytest.mark.parametrize("bad", ["a b", "a:b", "é", "x" * 101, "a\n"])
def test_no_header_can_be_called_so(bad: str) -> None:
    with pytest.raises(ValueError, match="no header can be called"):
        retry_header(bad)


def test_a_wsgi_app_has_it_likewise(sidecar: FakeSidecar, tmp_path: Path) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"x"]

    metering = wsgi.MeterMiddleware(
        app,
        idempotency_header="Idempotency-Key",
        socket=tmp_path / "s",
        spool_dir=tmp_path / "spool",
    )
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/",
        "HTTP_IDEMPOTENCY_KEY": "k-1",
    }
    body: Any = metering(environ, lambda *_: lambda _data: None)
    assert list(body) == [b"x"]
    body.close()  # as servers do
    metering.meter.close(timeout_s=PATIENCE_S)

    (event,) = sidecar.wait_for_events(1)
    assert event.external_id == "k-1"
