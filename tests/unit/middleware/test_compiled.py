"""What is compiled does what is said in Python, whatever servers and apps give it."""

import contextlib
import inspect
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextvars import copy_context
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import meterline
from meterline import MeterMiddleware, compiled, from_trusted_header
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.handle import current_event
from meterline.open_event import OpenEvent
from meterline.spool.segment import DATA_START
from meterline.subjects import Resolver
from meterline.usage_event import UsageEvent
from meterline.wire import encode_record, split_records
from tests.asgi_driver import http_scope

HEADER: Final = "x-who"
CAN_COMPILE: Final = shutil.which("cc") is not None and sys.platform == "linux"

decode = msgspec.msgpack.Decoder(UsageEvent).decode
# By both: what the compiled ones decline is done by these, too.
IN_PYTHON: Final = compiled.in_python.get("__call__", MeterMiddleware.__call__)
COMPILED: Final = MeterMiddleware.__call__


class Text(str):
    """A text of an app's own class."""


class Raises:
    """A key that looks like another one, and raises where it is compared with that."""

    def __init__(self, like: str) -> None:
        self._hash = hash(like)
        self.is_ready = False

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self.is_ready:
            raise ArithmeticError("compared")
        return False


class Own(dict[Any, Any]):
    """A mapping of an app's own class."""


class Broken(dict[Any, Any]):
    """One that gives nothing."""

    def __getitem__(self, name: Any) -> Any:
        raise LookupError(name)

    def get(self, name: Any, default: Any = None) -> Any:
        raise LookupError(name)


class Cycle:
    """A server's, of which a client may know that it has left, as uvicorn's."""

    def __init__(self, disconnected: object) -> None:
        if disconnected is not ...:
            self.disconnected = disconnected

    async def receive(self) -> Message:
        return {"type": "http.request"}


LEFT: Final = Cycle(disconnected=True).receive


async def receive() -> Message:
    return {"type": "http.request"}


class Outcome(NamedTuple):
    """All that can be seen of a request from outside."""

    events: list[Any]
    sent: list[str]
    raised: list[str]
    counted: list[Any]


strange = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**64, 2**200, -1, 405, HTTPStatus.OK, 1.5]),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from([Text("GET"), "\ud800", "x" * 300, [], {}]),
    st.just(object),
)
bodies = st.one_of(
    st.binary(max_size=70),
    st.binary(max_size=5).map(bytearray),
    st.binary(max_size=5).map(lambda text: memoryview(text)),
    strange,
)
kinds = st.sampled_from(
    [
        "http.response.start",
        "http.response.body",
        "http.response.trailers",
        "http.response.pathsend",
        "http.response.zerocopysend",
        Text("http.response.body"),
        "",
        7,
        None,
    ]
)


def _kept(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(...), values)


def _message(kind: Any, status: Any, body: Any, more: Any, made: Any, odd: Any) -> Any:
    given = {"type": kind, "status": status, "body": body, "more_body": more}
    return _with(
        odd, made({name: value for name, value in given.items() if value is not ...})
    )


def _with(odd: str | None, mapping: Any) -> Any:
    """Return a mapping with a key that is compared with this one, and raises."""
    if odd is not None:
        key = Raises(odd)
        mapping[key] = 1
        key.is_ready = True
    return mapping


messages = st.builds(
    _message,
    _kept(kinds),
    _kept(st.one_of(st.integers(-1, 1000), strange)),
    _kept(bodies),
    _kept(st.one_of(st.booleans(), strange)),
    st.sampled_from([dict, dict, dict, dict, Own, Broken]),
    st.sampled_from([None, None, None, None, "type", "body"]),
)
USUAL: Final[list[dict[str, Any]]] = [
    {"type": "http.response.start", "status": 200, "headers": []},
    {"type": "http.response.body", "body": b"ab", "more_body": True},
    {"type": "http.response.body", "body": b"hello"},
    {"type": "http.response.body"},
]
usual = st.sampled_from(USUAL)
names = st.sampled_from(["tokens", "units", "seconds", Text("tokens"), "b\xe4d!", 5])
amounts = st.one_of(
    st.integers(0, 9), st.sampled_from([2**62, 2**63 - 1, 2**63, -1, "1.5"]), strange
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("send"), usual),
        st.tuples(st.just("send"), usual),
        st.tuples(st.just("send"), messages),
        st.tuples(st.just("record"), names, amounts),
        st.tuples(st.just("record in except"), names, amounts),
        st.tuples(st.just("subject"), strange),
        st.tuples(st.just("property"), strange),
        st.tuples(st.just("id"), strange),
        st.tuples(st.just("handle"), names, amounts),
        st.tuples(
            st.just("scope"), st.sampled_from(["user", "state", "auth"]), strange
        ),
        st.tuples(st.just("skip")),
        st.tuples(st.just("slow")),
        st.tuples(st.just("raise")),
    ),
    max_size=7,
)
pairs = st.one_of(
    st.tuples(
        st.sampled_from([HEADER.encode(), b"X-Who", b"x-whO", b"other", Text(HEADER)]),
        st.one_of(
            st.sampled_from(
                [b"acct_1", b" acct 2 ", b"a,b", b"", b"\xff", b"\x7f", b"\t"]
            ),
            bodies,
        ),
    ),
    st.tuples(st.just(HEADER.encode()), st.just(b"acct_1")).map(list),
    strange,
)
scopes = st.fixed_dictionaries(
    {},
    optional={
        "method": st.one_of(st.sampled_from(["GET", "POST", "BREW"]), strange),
        "headers": st.one_of(
            st.lists(pairs, max_size=3), st.lists(pairs, max_size=2).map(tuple), strange
        ),
        "route": strange,
        "router": strange,
        "path_template": st.one_of(st.just("/items/{id}"), strange),
        "user": strange,
        "state": st.one_of(st.just({"user": "acct_3"}), strange),
        "auth": strange,
        "wsgi.version": strange,
        "type": st.sampled_from(["http", Text("http"), "websocket", "other", 1]),
    },
)


def _raising(scope: Scope) -> str | None:
    raise ValueError("a resolver of the app's")


def _long(scope: Scope) -> str | None:
    return "x" * 257


def _empty(scope: Scope) -> str | None:
    return ""


RESOLVERS: Final[list[Resolver | None]] = [
    None,
    from_trusted_header(HEADER),
    _raising,
    lambda scope: "acct_5",
    lambda scope: scope["headers"],
]


def _do(step: tuple[Any, ...], scope: Scope, record: Callable[..., None]) -> None:
    match step:
        case ("record", name, quantity):
            record(name, quantity)
        case ("record in except", name, quantity):
            try:
                raise OSError  # noqa: TRY301
            except OSError:
                record(name, quantity)
        case ("id", given):
            record("tokens", 1, id=given)
        case ("property", given):
            meterline.set_property("model", given)
        case ("handle", name, quantity):
            meterline.current().record(name, quantity)
        case ("subject", given):
            meterline.set_subject(given)
        case ("scope", name, given):
            scope[name] = given
        case ("skip",):
            meterline.skip()
        case ("slow",):
            event = current_event.get()
            if isinstance(event, OpenEvent):
                event.start_ns -= 2_000_000
        case _:
            raise RuntimeError("of the app")


def _app(
    script: list[tuple[Any, ...]], raised: list[str], record: Callable[..., None]
) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for step in script:
            try:
                if step[0] == "send":
                    await send(step[1])
                else:
                    _do(step, scope, record)
            except RuntimeError:
                raise
            except BaseException as error:  # noqa: BLE001
                raised.append(repr(error))
        record("late", 1)

    return app


def _plain(value: object) -> object:
    """Return an event without its times, and all else as text."""
    if isinstance(value, bytes):
        event = decode(value)
        assert event.duration_us >= 0
        return msgspec.structs.replace(event, time_ms=0, duration_us=0)
    return repr(value)


def _served(
    place: Path,
    way: Any,
    record: Callable[..., None],
    given: dict[str, Any],
    odd: str | None,
    receiving: Receive,
    script: list[tuple[Any, ...]],
    **options: Any,
) -> Outcome:
    """Serve one request the one way or the other."""
    if receiving == LEFT:  # what is slow by chance must be so both ways
        script = [("slow",), *script]
    sent: list[Any] = []
    raised: list[str] = []
    events: list[Any] = []
    middleware = MeterMiddleware(
        _app(script, raised, record),
        socket=place / "s",
        spool_dir=place / "spool",
        **options,
    )
    meter = middleware.meter
    meter.open()
    meter.append = events.append
    middleware.templates[id(given.get("route", script))] = "/items/{id}"
    room = meter.shipper.waiting if meter.shipper is not None else None

    async def send(message: Message) -> None:
        sent.append(message)

    def serve() -> OpenEvent | None:
        scope = _with(odd, {**http_scope("/items/1"), **given})
        with contextlib.suppress(StopIteration):
            try:
                way(middleware, scope, receiving, send).__await__().send(None)
            except StopIteration:
                raise
            except Exception as error:  # noqa: BLE001
                raised.append(f"out: {error!r}")
        event = current_event.get()
        assert event is None
        return event

    copy_context().run(serve)
    meter.close(timeout_s=0)
    counted = [meter.failed, meter.excluded, sorted(meter.complaints.counts.items())]
    if room is not None and ("skip",) not in script:
        waiting = [getattr(event, "meter", None) for event in list(room.units)]
        counted.append(meter in waiting)
    return Outcome([*map(_plain, events)], [*map(repr, sent)], raised, counted)


@given(
    scopes,
    st.sampled_from([None, None, None, "type", "route", "method", "headers", "state"]),
    st.sampled_from([receive, LEFT, *(Cycle(at).receive for at in (False, 0, ...))]),
    steps,
    st.sampled_from(RESOLVERS),
    st.sampled_from([None, ["/items/2", 404], ["/items/1"], [200]]),
    st.sampled_from([None, HEADER]),
)
@example(
    {},
    None,
    receive,
    [
        ("send", {"type": "http.response.start", "status": 200}),
        ("record", "tokens", 1),
        ("record", "tokens", 2),
        ("send", {"type": "http.response.body"}),
    ],
    None,
    None,
    None,
)
def _compare(
    place: Path,
    given: dict[str, Any],
    odd: str | None,
    receiving: Receive,
    script: list[tuple[Any, ...]],
    subject: Resolver | None,
    exclude: list[str | int] | None,
    retries: str | None,
) -> None:
    options = {"subject": subject, "exclude": exclude, "idempotency_header": retries}
    record = compiled.in_python["record"]

    one = _served(place, IN_PYTHON, record, given, odd, receiving, script, **options)
    other = _served(
        place, COMPILED, meterline.record, given, odd, receiving, script, **options
    )

    assert one == other


def test_both_ways_make_the_same_of_a_request(tmp_path: Path) -> None:
    # One is open all the time, so that all share its spool; no sidecar is there.
    with meterline.Meter(socket=tmp_path / "s", spool_dir=tmp_path / "spool") as meter:
        meter.open()
        _compare(tmp_path)


START: Final = ("send", {"type": "http.response.start", "status": 200})
END: Final = ("send", {"type": "http.response.body", "body": b"hello"})
TWICE: Final = [(HEADER.encode(), b"acct_1"), (HEADER.encode(), b"acct_2")]


LATE: Final[list[tuple[dict[str, Any], list[tuple[Any, ...]], dict[str, Any]]]] = [
    ({"route": "a route"}, [START, END], {}),
    (
        {"route": "a route"},
        [("send", {"type": "http.response.start", "status": 405}), END],
        {},
    ),
    ({}, [("send", {"type": "http.response.start", "status": 1000}), END], {}),
    ({}, [START, END], {"subject": _long}),
    ({}, [START, END], {"subject": _empty}),
    ({"headers": TWICE}, [START, END], {"subject": from_trusted_header(HEADER)}),
    (
        {"headers": [(HEADER.encode(), b"a,b")]},
        [START, END],
        {"subject": from_trusted_header(HEADER)},
    ),
    (
        {"headers": [(HEADER.encode(), b"key-1")]},
        [START, END],
        {"idempotency_header": HEADER},
    ),
    ({}, [("record", f"name_{i}", 1) for i in range(34)] * 2 + [START, END], {}),
    (
        {},
        [*(("record", "tokens", n) for n in (1, 2**63 - 1, 2**63 - 2)), START, END],
        {},
    ),
    ({}, [START, ("record", "tokens", 1), END, ("record", "tokens", 1)], {}),
    ({"meterline": 5}, [START, END], {}),
    ({}, [START, ("record", "tokens", 1), END], {"exclude": [200]}),
    ({}, [START, END], {"exclude": ["/items/1"]}),
]


@pytest.mark.parametrize(("given", "script", "options"), LATE)
def test_both_ways_make_the_same_of_what_chance_finds_late(
    tmp_path: Path,
    given: dict[str, Any],
    script: list[tuple[Any, ...]],
    options: dict[str, Any],
) -> None:
    record = compiled.in_python["record"]

    for receiving in (receive, LEFT):
        one = _served(
            tmp_path, IN_PYTHON, record, given, None, receiving, script, **options
        )
        for _ in range(2):  # by then the names of quantities are known
            other = _served(
                *(tmp_path, COMPILED, meterline.record, given, None, receiving, script),
                **options,
            )

            assert other == one


@given(scopes, st.sampled_from([None, None, "headers", "wsgi.version"]))
@example({"headers": TWICE}, None)
@example({"headers": [(HEADER.encode(), b"a,b")]}, None)
@example({"headers": [(HEADER.encode(), b"acct_1")], "wsgi.version": (1, 0)}, None)
@example({"headers": [(HEADER.encode(), b"acct_1")]}, "wsgi.version")
def test_both_ways_find_the_same_in_a_header(
    given: dict[str, Any], odd: str | None
) -> None:
    resolve: Any = from_trusted_header(HEADER)
    in_python = resolve if compiled.native is None else resolve.__self__[1]
    scope = _with(odd, {**http_scope(), **given})

    def said(by: Callable[[Scope], object]) -> str:
        try:
            return repr(by(scope))
        except Exception as error:  # noqa: BLE001
            return repr(error)

    assert said(resolve) == said(in_python)


def test_what_is_appended_are_records_one_behind_the_other(tmp_path: Path) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"hello"})

    async def send(message: Message) -> None:
        pass

    middleware = MeterMiddleware(
        app,
        subject=from_trusted_header(HEADER),
        socket=tmp_path / "s",
        spool_dir=tmp_path,
    )
    middleware.meter.open()
    shipper = middleware.meter.shipper
    assert shipper is not None
    writer = shipper.spool.writer
    for number in range(1, 1001):  # more than the first segment has room for
        scope = http_scope(headers=[(HEADER, f"acct_{number}")])
        with contextlib.suppress(StopIteration):
            middleware(scope, receive, send).__await__().send(None)
    segments = [
        segment.read(DATA_START, (segment.sealed or (segment.written, 0))[0])
        for segment in writer.segments
    ]
    middleware.meter.close(timeout_s=0)

    assert len(segments) > 1
    found = [record for part in segments for record in split_records(part)]
    assert b"".join(segments) == b"".join(
        encode_record(seq, payload) for _, seq, payload in found
    )
    assert [(seq, decode(payload).subject) for _, seq, payload in found] == [
        (number, f"acct_{number}") for number in range(1, 1001)
    ]


@pytest.mark.parametrize("way", [IN_PYTHON, COMPILED])
@pytest.mark.parametrize(
    ("took_ns", "took_us"), [(7_999, 7), (0, 0), (-1, -1), (2**40, 2**40 // 1000)]
)
def test_the_time_is_that_of_a_clock_that_was_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: Any,
    took_ns: int,
    took_us: int,
) -> None:
    monkeypatch.setattr("meterline.asgi.time_ns", lambda: 1_780_000_000_123_999_999)
    monkeypatch.setattr("meterline.asgi.perf_counter_ns", lambda: 5_000)
    monkeypatch.setattr("meterline.exchange.perf_counter_ns", lambda: 5_000 + took_ns)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def send(message: Message) -> None:
        pass

    middleware = MeterMiddleware(app, socket=tmp_path / "s", spool_dir=tmp_path)
    middleware.meter.open()
    fields: list[list[Any]] = []
    middleware.meter.append = lambda event: fields.append(msgspec.msgpack.decode(event))
    with contextlib.suppress(StopIteration):
        way(middleware, http_scope(), receive, send).__await__().send(None)
    middleware.meter.close(timeout_s=0)

    names = UsageEvent.__struct_fields__
    (event,) = (dict(zip(names, one, strict=False)) for one in fields)
    assert event["time_ms"] == 1_780_000_000_123
    assert event["duration_us"] == took_us


def test_it_is_there_where_there_is_a_compiler() -> None:
    is_there = python(
        "from meterline.compiled import native; print(native is not None)"
    )

    assert is_there == str(CAN_COMPILE)


def test_it_can_be_left_out() -> None:
    code = "import meterline.compiled as c; print(c.native)"

    assert python(code, METERLINE_PURE="1") == "None"
    assert (python(code, METERLINE_PURE="0") == "None") is not CAN_COMPILE


def test_one_that_was_made_of_another_text_is_not_used(tmp_path: Path) -> None:
    package = Path(compiled.__file__).parent
    shutil.copytree(package, tmp_path / "meterline")
    shutil.copytree(compiled.SOURCES, tmp_path / "native")
    with (tmp_path / "native" / "send.c").open("a") as source:
        source.write("/* new */\n")

    told = python(
        "import meterline.compiled as c; from meterline.complaints import troubles;"
        "print(c.native, *troubles.counts)",
        PYTHONPATH=str(tmp_path),
    )

    assert told == f"None {compiled.STALE}"


def test_it_serves_the_first_that_loads_it_alone() -> None:
    told = python(
        "import sys, meterline.compiled as one; from importlib import import_module;"
        "gone = [name for name in sys.modules if name.startswith('meterline')];"
        "[sys.modules.pop(name) for name in gone];"
        "other = import_module('meterline.compiled');"
        "print(one.native is not None, other.native is not None)"
    )

    assert told == f"{CAN_COMPILE} False"


def test_what_stands_in_its_place_says_the_same_of_itself() -> None:
    there = compiled.in_python["record"]

    assert meterline.record.__doc__ == there.__doc__
    assert pickle.loads(pickle.dumps(meterline.record)) is meterline.record
    given = inspect.signature(meterline.record).parameters
    expected = inspect.signature(there).parameters
    assert [(name, given[name].kind) for name in given] == [
        (name, expected[name].kind) for name in expected
    ]


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "METERLINE_PURE": "", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
