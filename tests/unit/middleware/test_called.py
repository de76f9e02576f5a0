"""What a middleware returns where it is called can be used as any coroutine."""

import asyncio
import collections.abc
import gc
import inspect
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import copy_context
from pathlib import Path
from types import coroutine
from typing import Any, Final

import msgspec
import pytest
import trio

from meterline import (
    MeterMiddleware,
    compiled,
    set_property,
    set_subject,
    wsgi,
)
from meterline.asgi_types import Message, Receive, Scope, Send
from meterline.events import Flag
from meterline.handle import current_event
from meterline.usage_event import UsageEvent
from tests.asgi_driver import http_scope

decode = msgspec.msgpack.Decoder(UsageEvent).decode
WAYS: Final = ("called", "in Python")


async def receive() -> Message:
    return {"type": "http.request"}


async def send(message: Message) -> None:
    pass


@coroutine
def pause(value: object) -> Generator[object, object, object]:
    return (yield value)


async def answer(send: Send, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status})
    await send({"type": "http.response.body", "body": b"hello"})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send)


async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
    assert await pause("first") == "one"
    await answer(send)
    assert await pause("second") == "two"


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await pause("first")
    except KeyError as error:
        raise LookupError("as it was") from error


async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
    while True:
        try:
            await pause("again")
        except GeneratorExit:
            await pause("not yet")
            return


class Place:
    """Makes middlewares whose events can be looked at."""

    def __init__(self, folder: Path, way: str) -> None:
        self._folder = folder
        self._way = way
        self.events: list[UsageEvent] = []

    def middleware(
        self, app: Any, kind: type[MeterMiddleware] = MeterMiddleware
    ) -> Any:
        made = kind(app, socket=self._folder / "s", spool_dir=self._folder)
        made.meter.append = lambda event: self.events.append(decode(event))
        return made

    def call(self, app: Any, scope: Scope | None = None) -> Any:
        """Return what a call of a middleware round ``app`` returns."""
        middleware = self.middleware(app)
        given = (scope or http_scope(), receive, send)
        if self._way == "called":
            call = middleware(*given)
            assert inspect.iscoroutine(call) is (compiled.native is None)
            return call
        in_python = compiled.in_python.get("__call__", MeterMiddleware.__call__)
        return in_python(middleware, *given)


@pytest.fixture(params=WAYS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path, request.param)
    yield place
    assert current_event.get() is None


def outcome(act: Callable[[], object]) -> object:
    """Return what came of a step: a value, or an error in words."""
    try:
        return act()
    except BaseException as error:  # noqa: BLE001
        return type(error), str(error), type(error.__cause__)


def test_it_is_a_coroutine_for_whoever_asks(place: Place) -> None:
    call: Any = place.call(app)

    assert (call.__qualname__, call.cr_await) == ("MeterMiddleware.__call__", None)
    assert issubclass(type(call), collections.abc.Coroutine)
    assert asyncio.iscoroutine(call)
    asyncio.run(call)
    assert [event.status for event in place.events] == [200]


def test_it_is_an_async_function_that_is_called(tmp_path: Path) -> None:
    class Own(MeterMiddleware):
        """One that looks at its calls."""

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            calls.append(scope["type"])
            await super().__call__(scope, receive, send)

    class Plain(MeterMiddleware):
        """One that adds nothing."""

    calls: list[str] = []
    place = Place(tmp_path, "called")
    for kind in (MeterMiddleware, Own, Plain):
        middleware = place.middleware(app, kind)
        assert inspect.iscoroutinefunction(middleware.__call__)
        asyncio.run(middleware(http_scope(), receive, send))
        asyncio.run(middleware(scope=http_scope(), receive=receive, send=send))
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            middleware(http_scope(), receive)
    assert calls == ["http", "http"]
    assert len(place.events) == 6


def test_who_sets_another_way_to_call_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, "called")
    middleware = place.middleware(app)

    async def other(*given: object) -> None:
        seen.append(len(given))

    seen: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(MeterMiddleware, "__call__", other)
        asyncio.run(middleware(http_scope(), receive, send))
    asyncio.run(middleware(http_scope(), receive, send))
    if compiled.native is not None:  # for whatever is tested next
        compiled.native.answer_calls(MeterMiddleware)

    assert seen == [4]
    assert len(place.events) == 1


def test_values_go_in_and_out(place: Place) -> None:
    call = place.call(waiting)

    assert outcome(lambda: call.send("early"))[0] is TypeError  # type: ignore[index]
    assert call.send(None) == "first"
    assert call.cr_await is not None
    assert place.events == []
    assert call.send("one") == "second"
    assert len(place.events) == 1
    assert outcome(lambda: call.send("two")) == (StopIteration, "", type(None))
    assert outcome(lambda: call.send(None)) == (
        RuntimeError,
        "cannot reuse already awaited coroutine",
        type(None),
    )
    assert call.close() is None


def test_it_can_be_iterated(place: Place) -> None:
    step = place.call(stubborn).__await__()

    assert next(step) == "again"
    assert next(step) == "again"
    assert outcome(step.close)[0] is RuntimeError  # type: ignore[index]


def test_an_error_is_thrown_into_the_app(place: Place) -> None:
    call = place.call(failing)
    call.send(None)

    assert outcome(lambda: call.throw(KeyError("thrown"))) == (
        LookupError,
        "as it was",
        KeyError,
    )
    (event,) = place.events
    assert (event.status, event.flags) == (500, Flag.ERROR)
    assert outcome(lambda: call.throw(KeyError)) == (
        RuntimeError,
        "cannot reuse already awaited coroutine",
        type(None),
    )


def test_an_error_is_thrown_before_it_began(place: Place) -> None:
    call = place.call(app)

    assert outcome(lambda: call.throw(KeyError("early")))[0] is KeyError  # type: ignore[index]
    assert place.events == []


def test_what_is_closed_was_cancelled(place: Place) -> None:
    call = place.call(waiting)
    call.send(None)

    assert call.close() is None
    (event,) = place.events
    assert event.flags == Flag.CANCELLED
    assert call.close() is None
    unused = place.call(waiting)
    assert unused.close() is None
    assert outcome(lambda: unused.send(None))[0] is RuntimeError  # type: ignore[index]
    assert len(place.events) == 1


def test_an_app_that_does_not_close_says_so(place: Place) -> None:
    call = place.call(stubborn)
    call.send(None)

    assert outcome(call.close)[:2] == (  # type: ignore[index]
        RuntimeError,
        "coroutine ignored GeneratorExit",
    )


def test_nobody_goes_on_with_what_runs(place: Place) -> None:
    calls: list[Any] = []
    found: list[object] = []

    async def meddling(scope: Scope, receive: Receive, send: Send) -> None:
        (call,) = calls
        found.append(outcome(lambda: call.send(None)))
        found.append(outcome(call.close))
        found.append(outcome(lambda: call.throw(KeyError)))
        await answer(send)

    calls.append(place.call(meddling))
    asyncio.run(calls[0])

    assert found == [(ValueError, "coroutine already executing", type(None))] * 3
    assert len(place.events) == 1


def test_what_is_never_awaited_is_told(place: Place) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        place.call(app)
        gc.collect()

    assert [str(warning.message) for warning in caught] == [
        "coroutine 'MeterMiddleware.__call__' was never awaited"
    ]
    assert place.events == []


def test_what_nobody_has_any_more_is_closed(place: Place) -> None:
    call = place.call(waiting)
    call.send(None)

    del call
    gc.collect()

    (event,) = place.events
    assert event.flags == Flag.CANCELLED


def test_a_cycle_is_collected(place: Place) -> None:
    async def kept(scope: Scope, receive: Receive, send: Send) -> None:
        await pause(scope["cycle"])

    scope = http_scope()
    call = place.call(kept, scope)
    scope["cycle"] = [call]
    copy_context().run(call.send, None)  # the collector runs it in another one

    del call, scope
    gc.collect()

    (event,) = place.events
    assert event.flags == Flag.CANCELLED


def test_it_begins_where_it_is_awaited(place: Place) -> None:
    async def seen(scope: Scope, receive: Receive, send: Send) -> None:
        assert current_event.get() is not None
        await asyncio.sleep(0)
        assert current_event.get() is not None
        await answer(send)

    async def main() -> None:
        call = place.call(seen)
        assert current_event.get() is None
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        assert current_event.get() is None
        await task

    asyncio.run(main())

    assert len(place.events) == 1


def test_it_ends_in_whatever_context(place: Place) -> None:
    call = place.call(waiting)
    copy_context().run(call.send, None)

    copy_context().run(call.send, "one")
    assert outcome(lambda: copy_context().run(call.send, "two"))[0] is StopIteration  # type: ignore[index]
    assert len(place.events) == 1


def task(send: Send) -> Awaitable[None]:
    return asyncio.ensure_future(answer(send))


@coroutine
def generated(send: Send) -> Generator[Any, Any, None]:
    yield from answer(send).__await__()


class Later:
    """What an app returns that is no coroutine."""

    def __init__(self, send: Send) -> None:
        self._send = send

    def __await__(self) -> Generator[Any, Any, None]:
        return answer(self._send).__await__()


@pytest.mark.parametrize(
    "made", [Later, task, generated], ids=["awaitable", "task", "generator"]
)
def test_an_app_may_return_whatever_can_be_awaited(
    place: Place, made: Callable[[Send], Awaitable[None]]
) -> None:
    def given(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return made(send)

    async def main() -> None:
        await place.call(given)

    asyncio.run(main())

    assert len(place.events) == 1


def test_an_app_that_returns_nothing_fails_as_without_us(place: Place) -> None:
    def wrong(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    with pytest.raises(TypeError, match="can't be used in 'await' expression"):
        asyncio.run(place.call(wrong))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(place.call(broken))
    assert [event.flags for event in place.events] == [Flag.ERROR] * 2


@pytest.mark.parametrize(
    "kind", [MeterMiddleware, wsgi.MeterMiddleware], ids=["asgi", "wsgi"]
)
def test_an_app_that_cannot_be_called_is_refused(kind: Any) -> None:
    for wrong in (None, "app:app"):
        with pytest.raises(TypeError, match=f"not {wrong!r}"):
            kind(wrong)


def test_cancelling_reaches_the_app(place: Place) -> None:
    seen: list[str] = []

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async def main() -> None:
        task = asyncio.create_task(place.call(slow))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert seen == ["cancelled"]
    (event,) = place.events
    assert event.flags == Flag.CANCELLED


def test_one_in_another_makes_one_event(place: Place) -> None:
    inner = place.middleware(app)

    asyncio.run(place.call(inner))

    assert len(place.events) == 1


def test_it_runs_where_no_asyncio_is(place: Place) -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(0)
        await answer(send)

    async def main() -> None:
        await place.call(slow)

    trio.run(main)

    assert len(place.events) == 1


def test_it_keeps_nothing_when_it_is_over(place: Place) -> None:
    scope = http_scope()
    call = place.call(app, scope)
    asyncio.run(call)

    if hasattr(call, "cr_frame"):
        assert call.cr_frame is None
    place.events.clear()
    assert sys.getrefcount(scope) == 2


def test_many_at_once_are_told_apart(place: Place) -> None:
    """More than are kept to be used again, two times over."""

    async def serving(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        set_subject(scope["path"])
        await answer(send, 200 + int(scope["path"][1:]))

    async def main() -> None:
        paths = [f"/{i}" for i in range(100)]
        await asyncio.gather(*(place.call(serving, http_scope(p)) for p in paths))

    for _ in range(2):
        place.events.clear()
        asyncio.run(main())
        said = {(event.status, event.subject) for event in place.events}
        assert said == {(200 + i, f"/{i}") for i in range(100)}
        assert len(place.events) == 100


def test_one_request_leaves_nothing_to_the_next(place: Place) -> None:
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        set_subject("")
        set_subject("acme")
        set_property("model", "large")
        await answer(send, 404)

    async def idle(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    asyncio.run(place.call(idle))
    asyncio.run(place.call(busy))
    asyncio.run(place.call(idle))

    first, between, last = place.events
    assert between.flags == Flag.BAD_SUBJECT
    assert between.subject == "acme"
    for event in first, last:
        assert event.flags == Flag.INCOMPLETE
        assert not event.status
        assert event.subject is None
        assert event.properties is None


def test_requests_free_what_they_were_made_of(place: Place) -> None:
    kinds: set[type] = set()

    async def serving(scope: Scope, receive: Receive, send: Send) -> None:
        kinds.add(type(current_event.get()))
        await answer(send)

    asyncio.run(place.call(serving))
    (kind,) = kinds
    gc.collect()
    before = sys.getrefcount(kind), sum(type(it) is kind for it in gc.get_objects())
    for _ in range(100):
        asyncio.run(place.call(serving))
    gc.collect()
    after = sys.getrefcount(kind), sum(type(it) is kind for it in gc.get_objects())

    assert after == before


def test_errors_of_the_app_are_its_own(place: Place) -> None:
    async def raising(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("of the app")

    with pytest.raises(KeyError) as caught:
        asyncio.run(place.call(raising))

    assert caught.value.__context__ is None
    assert caught.value.__traceback__ is not None


def test_a_clock_of_whoever_puts_one_in_counts(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meterline.asgi.time_ns", lambda: 5_000_000)
    asyncio.run(place.call(app))
    monkeypatch.setattr("meterline.asgi.time_ns", time.time_ns)
    asyncio.run(place.call(app))

    early, now = place.events
    assert early.time_ms == 5
    assert abs(now.time_ms - time.time_ns() // 1_000_000) < 60_000
