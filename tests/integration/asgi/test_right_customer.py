"""Whose a use is: the right customer's, or nobody's, and never another's."""

import asyncio
import contextvars
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import meterline
from meterline import MeterMiddleware, from_trusted_header, stray, waiting
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.events import Flag, Kind
from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.producer_file import WAITING
from meterline.spool.scan import Loss
from meterline.usage_event import UsageEvent
from tests.asgi_driver import call, http_scope
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.patience import PATIENCE_S
from tests.sidecar_process import until

WHO = "x-who"
NEVER_NS = 10**18


def units(sidecar: FakeSidecar, name: str = "n") -> dict[str | None, int]:
    """Return what was recorded of a quantity, by subject."""
    sums: dict[str | None, int] = {}
    for event in sidecar.events:
        if (amount := (event.quantities or {}).get(name)) is not None:
            sums[event.subject] = sums.get(event.subject, 0) + int(amount)
    return sums


def uses(sidecar: FakeSidecar) -> list[UsageEvent]:
    return [event for event in sidecar.events if event.kind == Kind.USE]


class Served:
    """One app, asked by several customers."""

    def __init__(self, sidecar: FakeSidecar, metered: Metered) -> None:
        self.sidecar = sidecar
        self._metered = metered
        self.metering: MeterMiddleware

    def app(self, *endpoints: Callable[..., Any], wraps: Any = None) -> None:
        routes = [Route(f"/{each.__name__}", each) for each in endpoints]
        app = Starlette(routes=routes)
        if wraps is not None:
            app.add_middleware(BaseHTTPMiddleware, dispatch=wraps)
        self.metering = self._metered(app, subject=from_trusted_header(WHO))

    async def ask(self, path: str, who: str, **more: Any) -> None:
        await call(self.metering, f"/{path}", headers=[(WHO, who)], **more)

    def units(self) -> dict[str | None, int]:
        assert self.metering.meter.flush(timeout_s=PATIENCE_S)
        return units(self.sidecar)

    def until_units(self, expected: dict[str | None, int]) -> None:
        until(lambda: self.units() == expected)


@pytest.fixture
def served(sidecar: FakeSidecar, metered: Metered) -> Served:
    return Served(sidecar, metered)


async def ping(request: Request) -> Response:
    return Response()


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


# --- finalizers


@pytest.mark.parametrize("wraps", [None, pass_on])
async def test_a_stream_closed_by_the_collector_is_its_own_requests(
    served: Served, wraps: Any
) -> None:
    async def stream(request: Request) -> Response:
        meterline.record("n", 1)

        async def chunks() -> AsyncIterator[bytes]:
            try:
                for _ in range(100):
                    yield b"x"
                    await asyncio.sleep(0)
            finally:
                meterline.record("n", 10)

        generator = chunks()
        cycle: list[Any] = [generator]
        await anext(generator)  # begins here, and nobody goes on with it
        cycle.append(cycle)
        return Response()

    async def collect(request: Request) -> Response:
        gc.collect()
        return Response()

    served.app(stream, collect, wraps=wraps)

    for _ in range(3):
        await served.ask("stream", "acme")
        await served.ask("collect", "globex")
        await asyncio.sleep(0.01)

    assert served.units() == {"acme": 33}


async def test_a_generator_that_began_before_it_was_watched_is_nobodys(
    served: Served,
) -> None:
    kept: list[Any] = []

    async def chunks() -> AsyncIterator[bytes]:
        try:
            yield b"x"
        finally:
            meterline.record("n", 10)

    generator = chunks()
    await anext(generator)  # in no request
    kept.append(generator)
    del generator

    async def drop(request: Request) -> Response:
        kept.clear()
        gc.collect()
        await asyncio.sleep(0.01)
        return Response()

    served.app(drop)
    await served.ask("drop", "globex")

    assert served.units() == {None: 10}


async def test_an_exhausted_generator_is_forgotten(served: Served) -> None:
    from meterline.open_event import generators

    async def stream(request: Request) -> Response:
        meterline.record("n", 1)

        async def chunks() -> AsyncIterator[bytes]:
            yield b"x"

        return StreamingResponse(chunks())

    served.app(stream)
    for _ in range(20):
        await served.ask("stream", "acme")
    gc.collect()

    assert generators.remembered <= 2


async def test_a_finalizer_that_the_collector_runs_is_nobodys(served: Served) -> None:
    class Connection:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            meterline.record("n", 10)
            meterline.set_subject("acme")

    async def open_one(request: Request) -> Response:
        Connection()
        return Response()

    async def collect(request: Request) -> Response:
        gc.collect()
        meterline.record("n", 1)
        return Response()

    served.app(open_one, collect)
    gc.collect()
    gc.disable()
    try:
        await served.ask("open_one", "acme")
        await served.ask("collect", "globex")
    finally:
        gc.enable()

    assert served.units() == {None: 10, "globex": 1}
    (use,) = uses(served.sidecar)
    assert use.flags == Flag.STRAY
    assert served.metering.stats.complaints[stray.FINALIZED] == 2


async def test_a_finalizer_with_a_handle_is_its_requests(served: Served) -> None:
    class Connection:
        def __init__(self) -> None:
            self.itself = self
            self.event = meterline.current()

        def __del__(self) -> None:
            self.event.record("n", 10)

    async def open_one(request: Request) -> Response:
        Connection()
        return Response()

    async def collect(request: Request) -> Response:
        gc.collect()
        return Response()

    served.app(open_one, collect)
    await served.ask("open_one", "acme")
    await served.ask("collect", "globex")

    assert served.units() == {"acme": 10}


# --- tasks, threads, inner calls, processes


class Worker:
    """A task that the first request starts and that serves everybody."""

    def __init__(self, record: Callable[[Any, int], None]) -> None:
        self._record = record
        self._task: asyncio.Task[None] | None = None

    async def ask(self, handle: Any, n: int) -> None:
        if self._task is None:
            self._jobs: asyncio.Queue[Any] = asyncio.Queue()
            self._task = asyncio.create_task(self._work())
        done = asyncio.Event()
        await self._jobs.put((handle, n, done))
        await done.wait()

    async def _work(self) -> None:
        while True:
            handle, n, done = await self._jobs.get()
            self._record(handle, n)
            done.set()


async def test_a_worker_that_one_request_started_does_not_charge_it_for_others(
    served: Served,
) -> None:
    worker = Worker(lambda _handle, n: meterline.record("n", n))

    async def ask(request: Request) -> Response:
        await worker.ask(None, int(request.query_params["n"]))
        return Response()

    served.app(ask)
    for who, n in (("acme", 1), ("globex", 10), ("initech", 100)):
        await served.ask("ask", who, query_string=f"n={n}".encode())

    assert served.units() == {"acme": 1, None: 110}
    assert [use.flags for use in uses(served.sidecar)] == [Flag.STRAY] * 2
    assert served.metering.stats.complaints[stray.LATE] == 2


async def test_a_worker_of_a_request_that_is_still_served_charges_it(
    served: Served,
) -> None:
    """No context shows for whom it works: only a handle does."""
    context = Worker(lambda _handle, n: meterline.record("n", n))
    handles = Worker(lambda handle, n: handle.record("n", n))
    started, goes_on = asyncio.Event(), asyncio.Event()

    async def ask(request: Request) -> Response:
        for worker, n in ((context, 1), (handles, 10)):
            await worker.ask(meterline.current(), n)
        if request.headers[WHO] == "acme":
            started.set()
            await goes_on.wait()
        return Response()

    served.app(ask)
    first = asyncio.create_task(served.ask("ask", "acme"))
    await started.wait()
    await served.ask("ask", "globex")
    goes_on.set()
    await first

    assert served.units() == {"acme": 12, "globex": 10}


async def test_a_worker_that_is_given_handles_charges_each_its_own(
    served: Served,
) -> None:
    worker = Worker(lambda handle, n: handle.record("n", n))

    async def ask(request: Request) -> Response:
        await worker.ask(meterline.current(), int(request.query_params["n"]))
        return Response()

    served.app(ask)
    for who, n in (("acme", 1), ("globex", 10), ("initech", 100)):
        await served.ask("ask", who, query_string=f"n={n}".encode())

    assert served.units() == {"acme": 1, "globex": 10, "initech": 100}
    assert uses(served.sidecar) == []


async def test_a_task_that_outlives_its_request_alone_is_its_requests(
    served: Served,
) -> None:
    go = asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def later() -> None:
        await go.wait()
        meterline.record("n", 7)

    async def start(request: Request) -> Response:
        tasks.append(asyncio.create_task(later()))
        return Response()

    served.app(start, ping)
    await served.ask("start", "acme")
    go.set()
    await tasks[0]
    assert served.units() == {"acme": 7}
    (use,) = uses(served.sidecar)
    assert (use.status, use.method, use.route) == (200, "GET", "/start")
    assert use.flags == Flag.OF_REQUEST

    go.clear()
    await served.ask("start", "acme")
    await served.ask("ping", "globex")
    go.set()
    await tasks[1]

    assert served.units() == {"acme": 7, None: 7}


async def test_after_an_app_has_called_itself_the_outer_request_is_current_again(
    served: Served,
) -> None:
    async def outer(request: Request) -> Response:
        meterline.record("n", 1)
        await served.ask("inner", "globex")
        meterline.record("n", 10)
        return Response()

    async def inner(request: Request) -> Response:
        meterline.record("n", 100)
        raise_it = request.query_params.get("raise")
        assert raise_it is None
        return Response()

    served.app(outer, inner)
    await served.ask("outer", "acme")

    assert served.units() == {"globex": 100, "acme": 11}


async def test_the_context_is_put_back_when_a_request_ends(served: Served) -> None:
    served.app(ping)

    await served.ask("ping", "acme")
    stray.outside.counts.clear()
    meterline.record("n", 5)

    assert served.units() == {None: 5}
    assert stray.outside.counts.total() == 1


def _record_in_child(n: int) -> None:
    meterline.record("n", n)
    meterline.set_subject("nobody")


async def test_a_child_forked_in_a_request_records_uses_of_nobody(
    served: Served,
) -> None:
    pools: list[ProcessPoolExecutor] = []

    async def ask(request: Request) -> Response:
        if not pools:
            context = multiprocessing.get_context("fork")
            pools.append(ProcessPoolExecutor(1, mp_context=context))
        await asyncio.wrap_future(pools[0].submit(_record_in_child, 5))
        return Response()

    served.app(ask)
    await served.ask("ask", "acme")
    await served.ask("ask", "globex")
    (pool,) = pools
    (pid,) = pool._processes
    served.until_units({None: 10})
    os.kill(pid, signal.SIGKILL)
    pool.shutdown()

    assert served.units() == {None: 10}
    assert [use.flags for use in uses(served.sidecar)] == [Flag.STRAY] * 2


async def test_a_handle_in_a_forked_child_is_a_use_of_its_request(
    served: Served,
) -> None:
    async def ask(request: Request) -> Response:
        event = meterline.current()
        pid = os.fork()
        if pid == 0:
            event.record("n", 5)
            os._exit(0 if served.metering.meter.flush(timeout_s=PATIENCE_S) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        event.record("n", 1)
        return Response()

    served.app(ask)
    await served.ask("ask", "acme")

    assert served.units() == {"acme": 6}


async def test_a_bare_executor_with_a_handle_is_its_requests(served: Served) -> None:
    async def ask(request: Request) -> Response:
        event = meterline.current()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, event.record, "n", 5)
        await loop.run_in_executor(None, event.set_subject, "acme")
        await loop.run_in_executor(None, meterline.record, "n", 100)
        return Response()

    served.app(ask)
    await served.ask("ask", "somebody")

    assert served.units() == {"acme": 5, None: 100}


async def test_a_handle_outlives_its_request_with_subject_route_and_status(
    served: Served,
) -> None:
    handles: list[meterline.Handle] = []

    async def keep(request: Request) -> Response:
        handles.append(meterline.current())
        assert meterline.current() is handles[0]
        return PlainTextResponse("kept", 202)

    served.app(keep, ping)
    await served.ask("keep", "acme", method="HEAD")
    await served.ask("ping", "globex")
    handles[0].record("n", 5)
    thread = threading.Thread(target=handles[0].record, args=("n", 6))
    thread.start()
    thread.join()

    assert served.units() == {"acme": 11}
    for use in uses(served.sidecar):
        assert (use.method, use.route, use.status) == ("HEAD", "/keep", 202)
        assert use.flags == Flag.OF_REQUEST


def test_a_handle_taken_in_no_request_is_nobodys(served: Served) -> None:
    served.app(ping)

    handle = contextvars.Context().run(meterline.current)
    handle.record("n", 5)
    handle.set_subject("acme")

    assert served.units() == {None: 5}


# --- what an open request has recorded


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PART_NS", 50_000_000)
    monkeypatch.setattr(waiting, "NOTED_NS", 10_000_000)


@pytest.mark.usefixtures("soon")
async def test_units_of_an_open_stream_reach_the_spool_while_it_is_open(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            for n, so_far in ((1, 1), (10, 11)):
                with monkeypatch.context() as patch:  # both are in one part
                    patch.setattr(waiting, "PART_NS", NEVER_NS)
                    meterline.record("n", n)
                    meterline.record("units", n)
                yield b"x"
                served.until_units({"acme": so_far})
            monkeypatch.setattr(waiting, "PART_NS", NEVER_NS)  # and this in none
            meterline.record("n", 100)

        return StreamingResponse(chunks())

    served.app(stream)
    await served.ask("stream", "acme")

    assert served.units() == {"acme": 111}
    assert units(served.sidecar, "units") == {"acme": 11}
    *parts, last = served.sidecar.events
    assert [(part.status, part.route, part.flags) for part in parts] == [
        (200, "/stream", Flag.OF_REQUEST)
    ] * 2
    assert (last.kind, last.flags) == (Kind.REQUEST, Flag.UNITS_APART)


@pytest.mark.usefixtures("soon")
async def test_units_wait_for_the_status_and_the_subject_that_filters_need(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    async def slow(request: Request) -> Response:
        meterline.record("n", 1)
        await asyncio.sleep(0.2)
        assert sidecar.events == []
        meterline.set_subject("acme")
        await asyncio.sleep(0.2)
        assert sidecar.events == []
        return PlainTextResponse("late", 201)

    await call(metered(Starlette(routes=[Route("/slow", slow)])), "/slow")

    (event,) = sidecar.wait_for_events(1)
    assert (event.status, event.subject, event.quantities) == (201, "acme", {"n": 1})


@pytest.mark.usefixtures("soon")
async def test_units_of_an_open_websocket_reach_the_spool_while_it_is_open(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    async def live(websocket: WebSocket) -> None:
        await websocket.accept()
        meterline.set_subject("acme")
        meterline.record("n", 5)
        assert sidecar.wait_for_events(1)[0].quantities == {"n": 5}
        await websocket.close()

    metering = metered(Starlette(routes=[WebSocketRoute("/live", live)]))
    more: Scope = {"type": "websocket", "subprotocols": []}
    scope: Scope = {**http_scope("/live"), **more}
    del scope["method"]

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        pass

    await metering(scope, receive, send)

    use, closed = sidecar.wait_for_events(2)
    assert (use.kind, use.status, use.flags) == (Kind.USE, 101, Flag.OF_WEBSOCKET)
    assert (use.method, closed.method) == ("GET", "GET")
    assert closed.kind == Kind.WEBSOCKET


def test_a_worker_killed_with_open_streams_leaves_their_number(tmp_path: Path) -> None:
    go, went = os.pipe()
    pid = os.fork()
    if pid == 0:
        asyncio.run(_streams_for_ever(tmp_path, went))
    assert os.read(go, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)

    (directory,) = spool_directories(tmp_path / "spool")
    dead = DeadSpool.take(directory)
    assert dead is not None
    assert list(dead.parts(after_seq=0)) == [Loss(1, 3, WAITING)]
    assert dead.hello.recorded_seq == 3
    dead.close()


def _number_in_memory(metering: MeterMiddleware) -> int:
    """Return how many open events have units in memory, as a kill would leave it."""
    shipper = metering.meter.shipper
    return 0 if shipper is None else shipper.spool.writer.file.waiting


async def _streams_for_ever(tmp_path: Path, went: int) -> None:
    async def stream(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            while True:
                meterline.record("n", 1)
                yield b"x"
                await asyncio.sleep(0.01)

        return StreamingResponse(chunks())

    app = Starlette(routes=[Route("/stream", stream)])
    metering = MeterMiddleware(app, socket=tmp_path / "s", spool_dir=tmp_path / "spool")
    tasks = [asyncio.create_task(call(metering, "/stream")) for _ in range(3)]
    while _number_in_memory(metering) < len(tasks):
        await asyncio.sleep(0.01)
    os.write(went, b"x")
    await asyncio.gather(*tasks)


# --- what comes after the response


async def test_a_use_after_the_response_filters_as_its_request(served: Served) -> None:
    async def later(request: Request) -> Response:
        task = BackgroundTask(meterline.record, "n", 20)
        return PlainTextResponse("soon", 402, background=task)

    served.app(later)
    await served.ask("later", "acme", method="GET")

    assert served.units() == {"acme": 20}
    (use,) = uses(served.sidecar)
    assert (use.method, use.route, use.status) == ("GET", "/later", 402)
    assert use.flags == Flag.OF_REQUEST


# --- who it is, where it is not in the middleware's scope


class Copying:
    """Hands on a copy of the scope, with the user in it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app({**scope, "user": {"id": "acme"}}, receive, send)


async def item(request: Request) -> Response:
    if request.path_params["id"] == "none":
        raise LookupError("no such item")
    return PlainTextResponse("item")


@pytest.mark.parametrize(("path", "status"), [("/items/7", 200), ("/items/none", 500)])
async def test_a_copied_scope_is_looked_at_where_it_went(
    sidecar: FakeSidecar, metered: Metered, path: str, status: int
) -> None:
    app = Starlette(routes=[Route("/items/{id}", item)])
    app.add_middleware(Copying)
    metering = metered(app)

    try:
        await call(metering, path)
    except LookupError:
        assert status == 500

    (event,) = sidecar.wait_for_events(1)
    assert (event.subject, event.route) == ("acme", "/items/{id}")
    assert event.status == status


async def test_a_mounted_app_with_a_middleware_of_its_own_says_who_pays(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    partner = Starlette(routes=[Route("/items/{id}", item)])
    partner.add_middleware(MeterMiddleware, subject=from_trusted_header(WHO))
    app = Starlette(routes=[Mount("/partner", partner)])

    await call(metered(app), "/partner/items/7", headers=[(WHO, "acme")])

    (event,) = sidecar.wait_for_events(1)
    assert (event.subject, event.route) == ("acme", "/partner/items/{id}")


# --- what really went out


async def _answer(request: Request, error: Exception) -> Response:
    return PlainTextResponse("quota used up", 402)


async def _fail(request: Request, error: Exception) -> Response:
    raise RuntimeError("the handler, too")


def _handlers() -> Iterator[Any]:
    yield pytest.param({Exception: _answer}, False, 402, 13, id="own handler")
    yield pytest.param({500: _answer}, False, 402, 13, id="own handler of 500")
    yield pytest.param({}, False, 500, 21, id="none")
    yield pytest.param({}, True, 500, None, id="debug")
    yield pytest.param({Exception: _fail}, False, 500, 0, id="one that raises")


@pytest.mark.parametrize(("handlers", "debug", "status", "n_bytes"), list(_handlers()))
@pytest.mark.parametrize("wraps", [False, True])
async def test_the_answer_of_an_error_handler_outside_is_what_is_recorded(
    sidecar: FakeSidecar,
    tmp_path: Path,
    handlers: Any,
    debug: bool,
    status: int,
    n_bytes: int | None,
    wraps: bool,
) -> None:
    async def broken(request: Request) -> Response:
        raise LookupError("no quota")

    app = Starlette(
        routes=[Route("/it", broken)], exception_handlers=handlers, debug=debug
    )
    if wraps:
        app.add_middleware(Copying)
    app.add_middleware(
        MeterMiddleware, socket=tmp_path / "s", spool_dir=tmp_path / "spool"
    )
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    with pytest.raises((LookupError, RuntimeError)):
        await app(http_scope("/it"), receive, send)
    stack: Any = app.middleware_stack
    stack.app.meter.close(timeout_s=PATIENCE_S)  # nobody can answer later than this

    (event,) = sidecar.wait_for_events(1)
    body = sum(len(message.get("body", b"")) for message in sent)
    assert (event.status, event.bytes_out) == (status, body)
    assert n_bytes is None or body == n_bytes
    assert event.flags == Flag.ERROR
    assert event.route == "/it"


class Cycle:
    """A request as uvicorn has it."""

    disconnected = False

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_client_that_left_before_a_slow_answer_is_incomplete(
    sidecar: FakeSidecar, metered: Metered, leaves: bool
) -> None:
    cycle = Cycle()

    async def slow(request: Request) -> Response:
        cycle.disconnected = leaves
        await asyncio.sleep(0.01)
        return PlainTextResponse("too late")

    async def send(message: Message) -> None:
        pass

    metering = metered(Starlette(routes=[Route("/slow", slow)]))
    await metering(http_scope("/slow"), cycle.receive, send)

    (event,) = sidecar.wait_for_events(1)
    assert (event.status, event.flags) == (200, Flag.INCOMPLETE if leaves else 0)
