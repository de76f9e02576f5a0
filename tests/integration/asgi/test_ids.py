"""What of a use with an id of the app's own is recorded, from wherever it is said."""

import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

import meterline
from meterline import waiting
from meterline.events import Flag, Kind
from meterline.usage_event import UsageEvent
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.integration.asgi.test_properties import Server


@pytest.fixture
def server(sidecar: FakeSidecar, metered: Metered) -> Server:
    return Server(sidecar, metered)


class Missing:
    """Compares as the missing values of data frames do: no answer is true or false."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("it is neither")

    __hash__ = object.__hash__


def named(events: list[UsageEvent]) -> list[UsageEvent]:
    return [event for event in events if event.external_id is not None]


async def test_it_is_an_event_of_its_own_with_what_its_request_has(
    server: Server,
) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.record("render", 1, id="job-17", source="farm", model="large")
        meterline.record("render", "0.5", id=18)
        meterline.set_subject("acct_1")  # known only now
        meterline.set_property("tenant", "eu")
        return Response(status_code=201)

    *uses, request = await server.serve(endpoint, n_events=3)

    assert (request.kind, request.quantities, request.status) == (
        Kind.REQUEST,
        None,
        201,
    )
    assert [(use.kind, use.subject, use.route, use.status) for use in uses] == [
        (Kind.USE, "acct_1", "/it", 201)
    ] * 2
    assert [(use.external_id, use.source) for use in uses] == [
        ("job-17", "farm"),
        ("18", None),
    ]
    assert [use.quantities for use in uses] == [{"render": 1}, {"render": "0.5"}]
    assert uses[0].properties == {"model": "large", "tenant": "eu"}
    assert uses[0].flags == Flag.OF_REQUEST


async def test_it_is_recorded_from_threads_after_the_answer_and_without_a_request(
    server: Server,
) -> None:
    def endpoint(request: Request) -> Response:
        event = meterline.current()

        def work() -> None:
            event.record("n", 1, id="thread")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

        def later() -> None:
            meterline.record("n", 2, id="later")

        return Response(background=BackgroundTask(later))

    await server.serve(endpoint, n_events=3)
    meterline.record("n", 3, id="stray")
    server.metering.meter.record("n", 4, id="meter", source="s", subject="acme")

    found = {
        event.external_id: event for event in named(server.sidecar.wait_for_events(5))
    }
    assert {key: event.quantities for key, event in found.items()} == {
        "thread": {"n": 1},
        "later": {"n": 2},
        "stray": {"n": 3},
        "meter": {"n": 4},
    }
    assert found["stray"].flags == Flag.STRAY
    assert found["meter"].source == "s"


async def test_of_an_open_stream_it_waits_for_the_spool_no_longer_than_units_do(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PART_NS", 0)
    monkeypatch.setattr(waiting, "NOTED_NS", 0)
    seen: list[Any] = []

    async def endpoint(request: Request) -> Response:
        meterline.set_subject("acct_1")

        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"
            meterline.record("n", 1, id="early")
            seen.extend(server.sidecar.wait_for_events(1))
            yield b"y"

        return StreamingResponse(chunks())

    await server.serve(endpoint, n_events=2)

    assert [event.external_id for event in seen] == ["early"]


@pytest.mark.parametrize(
    "bad", ["", "x" * 257, b"job", 1.5, True, "\ud800", 2**70, Missing()]
)
async def test_an_id_that_cannot_be_taken_is_flagged_and_the_use_counts(
    server: Server, bad: Any
) -> None:
    def endpoint(request: Request) -> Response:
        meterline.record("n", 1, id=bad)
        return Response()

    use, _ = await server.serve(endpoint, n_events=2)

    assert (use.quantities, use.external_id) == ({"n": 1}, None)
    assert use.flags == Flag.OF_REQUEST | Flag.BAD_ID
    assert len(server.metering.stats.complaints) == 1


async def test_a_source_without_an_id_is_a_complaint(server: Server) -> None:
    def endpoint(request: Request) -> Response:
        meterline.record("n", 1, source="farm")
        return Response()

    use, _ = await server.serve(endpoint, n_events=2)

    assert use.flags == Flag.OF_REQUEST | Flag.BAD_ID


async def test_what_a_request_that_is_left_out_records_goes_with_it(
    server: Server,
) -> None:
    def endpoint(request: Request) -> Response:
        meterline.record("n", 1, id="gone")
        meterline.skip()
        return Response()

    await server.serve(endpoint, n_events=0)
    server.metering.meter.record("n", 1)

    (event,) = server.sidecar.wait_for_events(1)
    assert event.external_id is None
