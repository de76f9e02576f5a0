"""What a handler says: from wherever it says it, and whatever it says."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

import meterline
from meterline.events import QUANTITIES_MAX, QUANTITY_MAX, Flag, Kind
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.patience import PATIENCE_S

One = Callable[..., Any]


@pytest.fixture
def one(sidecar: FakeSidecar, metered: Metered) -> One:
    """Return a function that serves one request by an endpoint: its event."""

    async def serve(endpoint: Any, **options: Any) -> UsageEvent:
        app = Starlette(routes=[Route("/it", endpoint)])
        metering = metered(app, **options)
        await call(metering, "/it")
        (event,) = sidecar.wait_for_events(1)
        return event

    return serve


def say(n: int) -> None:
    meterline.record("n", n)
    meterline.set_subject(f"acct_{n}")


async def in_async(request: Request) -> Response:
    say(5)
    return Response()


def in_sync(request: Request) -> Response:
    say(5)
    return Response()


async def in_child_task(request: Request) -> Response:
    async def child() -> None:
        say(5)

    await asyncio.create_task(child())
    return Response()


async def in_to_thread(request: Request) -> Response:
    await asyncio.to_thread(say, 5)
    return Response()


async def in_async_stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        say(2)
        yield b"x"
        meterline.record("n", 3)
        meterline.set_subject("acct_5")

    return StreamingResponse(chunks())


async def in_sync_stream(request: Request) -> Response:
    def chunks() -> Iterator[bytes]:
        say(5)
        yield b"x"

    return StreamingResponse(chunks())


@pytest.mark.parametrize(
    "endpoint",
    [in_async, in_sync, in_child_task, in_to_thread, in_async_stream, in_sync_stream],
)
@pytest.mark.parametrize("is_wrapped", [False, True])
async def test_record_and_set_subject_reach_the_request_from_everywhere(
    sidecar: FakeSidecar, metered: Metered, endpoint: Any, is_wrapped: bool
) -> None:
    app = Starlette(routes=[Route("/it", endpoint)])
    if is_wrapped:

        async def dispatch(request: Request, call_next: Any) -> Any:
            return await call_next(request)

        app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)

    await call(metered(app), "/it")

    (event,) = sidecar.wait_for_events(1)
    assert (event.quantities, event.subject) == ({"n": 5}, "acct_5")


@pytest.mark.parametrize(
    ("name", "quantity"),
    [
        ("tokens", True),
        ("tokens", 1.5),
        ("tokens", float("nan")),
        ("tokens", "12e0"),
        ("tokens", None),
        ("tokens", -1),
        ("tokens", QUANTITY_MAX + 1),
        ("tokens", 10**30),
        ("", 1),
        ("a b", 1),
        ("x" * 65, 1),
        ("\udcff", 1),
        ("line\nbreak", 1),
        ("trailing\n", 1),
        (7, 1),
    ],
)
async def test_what_can_not_be_billed_is_left_out_and_flagged(
    one: One, caplog: pytest.LogCaptureFixture, name: Any, quantity: Any
) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.record("good", 1)
        for _ in range(3):
            meterline.record(name, quantity)
        return PlainTextResponse("served")

    event = await one(endpoint)

    assert event.quantities == {"good": 1}
    assert event.flags == Flag.BAD_QUANTITY
    warnings = [r for r in caplog.records if r.name == "meterline.complaints"]
    assert len(warnings) == 1


async def test_a_sum_above_the_limit_keeps_what_there_was(one: One) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.record("n", QUANTITY_MAX)
        meterline.record("n", 1)
        meterline.record("zero", 0)
        return Response()

    event = await one(endpoint)

    assert event.quantities == {"n": QUANTITY_MAX, "zero": 0}
    assert event.flags == Flag.BAD_QUANTITY


async def test_too_many_names_keep_the_first_ones(one: One) -> None:
    async def endpoint(request: Request) -> Response:
        for i in range(QUANTITIES_MAX + 1):
            meterline.record(f"n{i}", i)
        meterline.record("n0", 5)
        return Response()

    event = await one(endpoint)

    assert len(event.quantities) == QUANTITIES_MAX
    assert event.quantities["n0"] == 5
    assert event.flags == Flag.BAD_QUANTITY


@pytest.mark.parametrize("subject", ["", "x" * 257, 5, None, b"acct", "a\udc80", 1.0])
async def test_a_subject_that_is_none_leaves_the_request_unattributed(
    one: One, subject: Any
) -> None:
    def resolver(scope: Any) -> Any:
        return subject

    async def endpoint(request: Request) -> Response:
        return Response()

    event = await one(endpoint, subject=resolver)

    assert event.subject is None
    assert event.flags == (0 if subject is None else Flag.BAD_SUBJECT)


async def test_set_subject_with_nonsense_keeps_what_the_resolver_says(
    one: One,
) -> None:
    async def endpoint(request: Request) -> Response:
        nonsense: Any = 5
        meterline.set_subject(nonsense)
        return Response()

    def resolver(scope: Any) -> str:
        return "acct_1"

    event = await one(endpoint, subject=resolver)

    assert (event.subject, event.flags) == ("acct_1", Flag.BAD_SUBJECT)


async def test_a_resolver_that_raises_costs_the_attribution_only(
    one: One, caplog: pytest.LogCaptureFixture
) -> None:
    def resolver(scope: Any) -> str:
        raise LookupError("acct_secret")

    async def endpoint(request: Request) -> Response:
        return Response()

    event = await one(endpoint, subject=resolver)

    assert (event.status, event.subject, event.flags) == (200, None, Flag.BAD_SUBJECT)
    assert "acct_secret" not in caplog.text


async def test_the_longest_subject_and_all_quantities_at_once_fit(one: One) -> None:
    async def endpoint(request: Request) -> Response:
        meterline.set_subject("\U0001f511" * 256)
        for i in range(QUANTITIES_MAX):
            meterline.record("é" * 60 + f"{i:04}", QUANTITY_MAX)
        return Response()

    event = await one(endpoint)

    assert len(event.quantities) == QUANTITIES_MAX
    assert len(event.subject) == 256
    assert event.flags == 0


def test_outside_of_a_request_record_says_so_once_and_raises_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from meterline import stray

    stray.outside.counts.clear()

    def outside() -> None:
        for _ in range(3):
            meterline.record("tokens", 5)
            meterline.set_subject("acct_1")

    contextvars.Context().run(outside)

    assert caplog.text.count("meterline.Meter") == 1
    assert stray.outside.counts.total() == 6


async def test_every_quantity_of_threads_that_outlive_the_request_counts_once(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    n_threads, n_each = 4, 50
    go = threading.Barrier(n_threads + 1)
    threads: list[threading.Thread] = []

    def busy() -> None:
        go.wait()
        for _ in range(n_each):
            meterline.record("n", 1)

    async def endpoint(request: Request) -> Response:
        for _ in range(n_threads):
            context = contextvars.copy_context()
            threads.append(threading.Thread(target=context.run, args=(busy,)))
            threads[-1].start()
        go.wait()
        return Response()

    metering = metered(Starlette(routes=[Route("/it", endpoint)]))
    for _ in range(20):
        await call(metering, "/it")
    for thread in threads:
        thread.join()
    assert metering.meter.flush(timeout_s=PATIENCE_S)

    total = sum(int((event.quantities or {}).get("n", 0)) for event in sidecar.events)
    assert total == 20 * n_threads * n_each
    assert sum(event.kind == Kind.REQUEST for event in sidecar.events) == 20


# --- Meter: without a request


def test_a_meter_records_uses_from_any_thread(
    sidecar: FakeSidecar, tmp_path: Any
) -> None:
    with meterline.Meter(socket=sidecar.path, spool_dir=tmp_path / "spool") as meter:
        meter.record("tokens", 5, subject="acct_1", route="/nightly")
        thread = threading.Thread(target=meter.record, args=("tokens", 6))
        thread.start()
        thread.join()

    first, second = sidecar.events
    assert (first.kind, first.subject, first.route) == (Kind.USE, "acct_1", "/nightly")
    assert (first.quantities, second.quantities) == ({"tokens": 5}, {"tokens": 6})
    assert second.subject is None
    assert all(ledger.is_closed for ledger in sidecar.ledgers.values())


def test_a_meter_never_raises_whatever_it_is_given(
    sidecar: FakeSidecar, tmp_path: Any
) -> None:
    nonsense: Any = ["\udcff", 5, b"x", "x" * 1000, object(), ""]
    with meterline.Meter(socket=sidecar.path, spool_dir=tmp_path / "spool") as meter:
        for thing in nonsense:
            meter.record(thing, thing, subject=thing, route=thing)
        stats = meter.stats

    assert len(sidecar.events) == len(nonsense)
    assert all(event.quantities is None for event in sidecar.events)
    assert sum(stats.complaints.values()) >= len(nonsense)


def test_a_disabled_meter_touches_nothing(tmp_path: Any) -> None:
    spool_dir = tmp_path / "spool"
    with meterline.Meter(
        socket=tmp_path / "s", spool_dir=spool_dir, disabled=True
    ) as meter:
        meter.record("tokens", 5)

    assert not spool_dir.exists()
    assert meter.stats.recorded == 0
