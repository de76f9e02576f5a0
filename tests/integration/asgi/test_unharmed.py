"""The app goes on, whatever its system, its values and its moment are like."""

import os
import subprocess
import sys
from collections.abc import Iterator
from http import HTTPMethod, HTTPStatus
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

import meterline
from meterline import Meter
from meterline.asgi_types import Message, Receive, Scope, Send
from meterline.compiled import VARIABLE
from meterline.events import Flag
from meterline.meter import shippers
from tests.asgi_driver import call
from tests.fake_sidecar import FakeSidecar
from tests.integration.asgi.conftest import Metered
from tests.integration.asgi.test_rules import starlette
from tests.patience import PATIENCE_S
from tests.sidecar_process import until

OK: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}
BODY: dict[str, Any] = {"type": "http.response.body", "body": b"x"}


class Text(str):
    """What a template engine, a lazy translation or numpy makes of a text."""

    __slots__ = ()

    def __str__(self) -> str:
        raise RuntimeError

    def __len__(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    def __hash__(self) -> int:
        raise RuntimeError


class Tokens(int):
    """A number with a unit."""

    def __index__(self) -> int:
        raise RuntimeError


class Nameless(type):
    """A class of classes that will not say their name."""

    def __getattribute__(cls, name: str) -> Any:
        if name == "__name__":
            raise RuntimeError
        return super().__getattribute__(name)


class Hostile(metaclass=Nameless):
    """Nothing can be asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError

    def __index__(self) -> int:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Meter]:
    yield Meter(socket=tmp_path / "s", spool_dir=tmp_path / "spool")
    shippers.close_all(timeout_s=0)


# --- values of any class


def test_a_use_of_texts_and_numbers_of_any_class_is_what_they_are(
    sidecar: FakeSidecar, meter: Meter
) -> None:
    lazy = Mock(spec=str, __str__=Mock(return_value="acme"))

    meter.record(Text("tokens"), Tokens(5), subject=Text("acme"), route=Text("/x"))
    meter.record(HTTPMethod.GET, True + Tokens(1), subject=lazy)

    first, second = sidecar.wait_for_events(2)
    assert (first.quantities, first.subject) == ({"tokens": 5}, "acme")
    assert (first.route, first.flags) == ("/x", 0)
    assert (second.quantities, second.subject) == ({"GET": 2}, "acme")


def test_what_cannot_be_asked_anything_is_left_out(
    sidecar: FakeSidecar, meter: Meter
) -> None:
    hostile = cast("Any", Hostile())

    meter.record(hostile, 1)
    meter.record("n", hostile)
    meter.record("n", 1, subject=hostile, route=hostile)

    events = sidecar.wait_for_events(3)
    assert [event.flags for event in events] == [
        Flag.BAD_QUANTITY,
        Flag.BAD_QUANTITY,
        Flag.BAD_SUBJECT,
    ]
    assert meter.stats.failed == 0


async def test_a_request_of_values_of_any_class_is_recorded_as_what_they_are(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        meterline.record(Text("tokens"), Tokens(3))
        meterline.set_subject(Text("acme"))
        await send({**OK, "status": HTTPStatus.CREATED})
        await send(BODY)

    await call(metered(app), "/", method=HTTPMethod.POST)

    (event,) = sidecar.wait_for_events(1)
    assert (event.subject, event.quantities) == ("acme", {"tokens": 3})
    assert (event.method, event.status, event.flags) == ("POST", 201, 0)


@pytest.mark.parametrize("status", [1000, -1, 2**70, "200", None])
async def test_a_status_that_is_none_costs_no_event(
    sidecar: FakeSidecar, metered: Metered, status: Any
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({**OK, "status": status})
        await send(BODY)

    await call(metered(app), "/")

    (event,) = sidecar.wait_for_events(1)
    assert event.status == 0


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        (Text("acme"), "acme"),
        ({"id": Text("acme")}, "acme"),
        ({"id": Tokens(42)}, "42"),
        (Tokens(42), "42"),
    ],
    ids=["text", "id", "number's id", "number"],
)
async def test_a_user_of_any_class_is_named_by_what_it_is(
    sidecar: FakeSidecar, metered: Metered, user: Any, subject: str
) -> None:
    async def endpoint(request: Request) -> Response:
        request.scope["user"] = user
        return PlainTextResponse("x")

    await call(metered(starlette(endpoint)), "/it")

    (event,) = sidecar.wait_for_events(1)
    assert event.subject == subject


async def test_a_message_that_is_none_is_passed_on(
    sidecar: FakeSidecar, metered: Metered
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "http.request", "body": 7}
        await send(OK)
        await send(BODY)

    async def receive() -> Message:
        return {"type": "http.request", "body": 7}

    async def send(_message: Message) -> None:
        """Take it."""

    scope: Scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    await metered(app)(scope, receive, send)

    # What could not be counted is reported beside the event, as one that is lost.
    assert len(sidecar.wait_for_events(2)) == 1


class Timeout(BaseException):
    """As that of gevent: meant for whoever waits, and caught by nobody else."""


async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send(OK)
    await send(BODY)


def refuse(_scope: Scope) -> str:
    raise Timeout


async def test_a_resolver_that_ends_everything_costs_an_event_that_is_counted(
    metered: Metered,
) -> None:
    serving = metered(answer, subject=refuse)

    with pytest.raises(Timeout):
        await call(serving, "/")

    until(lambda: serving.stats.recorded == 1)
    assert serving.stats.failed == 1


# --- a system that lacks something

GAPS = """
import asyncio, logging, os, sys
import _socket as socket  # the part of it that is asked
logging.basicConfig(format="LOG %(message)s")
loop = asyncio.new_event_loop()  # Python itself may need what is taken away
import meterline.asgi, encodings.idna
for name in [name for name in sys.modules if name.startswith("meterline")]:
    del sys.modules[name]  # what they import is there
gap = sys.argv[1]
if gap == "fcntl":
    sys.modules["fcntl"] = None
elif gap == "platform":
    sys.platform = "darwin"
    for name in ("posix_fallocate", "fdatasync"):
        delattr(os, name)
    for name in ("SOCK_NONBLOCK", "SOCK_CLOEXEC", "MSG_NOSIGNAL", "SO_PEERCRED"):
        delattr(socket, name)
elif gap == "windows":
    sys.modules["fcntl"] = None
    for name in (
        "posix_fallocate", "fdatasync", "register_at_fork", "fchmod", "pwrite",
        "O_CLOEXEC", "getuid", "geteuid", "fork",
    ):
        delattr(os, name)
    for name in ("SOCK_NONBLOCK", "SOCK_CLOEXEC", "MSG_NOSIGNAL", "AF_UNIX"):
        delattr(socket, name)
else:
    module, _, name = gap.partition(".")
    delattr({"os": os, "socket": socket}[module], name)

import meterline
from meterline import Meter, MeterMiddleware

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})
        return
    meterline.record("tokens", 1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})

async def main():
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}
    async def send(message):
        pass
    metered = MeterMiddleware(app)
    for _ in range(10):
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        await metered(scope, receive, send)
    meter = Meter()
    meter.record("tokens", 1)
    while meter.stats.recorded < 11:  # until the shipping thread has looked
        await asyncio.sleep(0.01)
    print(meter.stats.recorded, meter.stats.failed, meter.stats.spool)
    await metered({"type": "lifespan"}, receive, send)

loop.run_until_complete(main())
"""


def run(
    code: str, tmp_path: Path, *arguments: str, timeout_s: float = PATIENCE_S
) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "METERLINE_STATE_DIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    ("gap", "spool"),
    [
        ("os.posix_fallocate", "file"),
        ("os.fdatasync", "file"),
        ("os.register_at_fork", "file"),
        ("os.getuid", "file"),
        ("os.O_CLOEXEC", "file"),
        ("os.fchmod", "memory"),
        ("socket.SOCK_NONBLOCK", "file"),
        ("socket.MSG_NOSIGNAL", "file"),
        ("socket.AF_UNIX", "file"),
        ("os.mkdir", "memory"),
        ("fcntl", "memory"),
        ("platform", "file"),
        ("windows", "memory"),
    ],
)
def test_what_a_system_lacks_is_replaced_or_said_once(
    tmp_path: Path, gap: str, spool: str
) -> None:
    out = run(GAPS, tmp_path, gap)

    lines = [line for line in out.splitlines() if line.startswith("LOG ")]
    assert f"11 0 {spool}" in out
    assert len(lines) <= 3, out
    assert ("in memory only" in out) == (spool == "memory")
    assert "Traceback" not in out


# --- resources that are not to be had

SCARCE = """
import resource, sys, threading
from meterline import Meter
meter = Meter(socket="/nowhere/s")
what = sys.argv[1]
if what == "memory":
    resource.setrlimit(resource.RLIMIT_AS, (1, 1))
elif what == "files":
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
elif what == "size":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
elif what == "threads":
    def refuse(*_arguments, **_options):
        raise RuntimeError("can't start new thread")
    threading.Thread.start = refuse
for i in range(3000):
    meter.record("n", i)
stats = meter.stats
meter.close(timeout_s=0.2)
print(stats.recorded + meter.failed >= (3000 if what == "memory" else 0))
"""


@pytest.mark.parametrize("what", ["memory", "files", "size", "threads"])
def test_what_is_not_to_be_had_harms_nobody(tmp_path: Path, what: str) -> None:
    assert "Traceback" not in run(SCARCE, tmp_path, what)


DEEP = """
from meterline import Meter
meter = Meter(socket="/nowhere/s")
meter.record("n", 1)
class Ours(Exception): pass
deepest = 0
def down(n):
    global deepest
    deepest = n
    try:
        down(n + 1)
    except RecursionError:
        pass
    meter.record("n", 1)
    try:
        meter.record("n", "x")
    except RecursionError:
        if n < deepest - 2:   # else there is no room for the call itself
            raise
try:
    down(0)
except RecursionError as error:
    import traceback
    frames = traceback.extract_tb(error.__traceback__)
    print("INSIDE" if "meterline" in frames[-1].filename else "outside")
print("done")
"""


def test_at_the_end_of_the_stack_nothing_is_raised_from_inside(tmp_path: Path) -> None:
    assert run(DEEP, tmp_path).splitlines()[-1] == "done"


AT_DEPTHS = """
import sys, tempfile
from contextvars import copy_context
from meterline import Meter, MeterMiddleware
import meterline

where = {"socket": "/nowhere/s", "spool_dir": tempfile.mkdtemp(), "sync_interval_s": 0}

def down(n, what):
    return what() if n <= 0 else down(n - 1, what)

def at(left, what):
    "Call ``what`` where so many frames are left."
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return down(sys.getrecursionlimit() - depth - left, what)
"""

DEEP_REQUESTS = f"""{AT_DEPTHS}
what, is_open = sys.argv[1], sys.argv[2] == "open"
entered = 0

async def app(scope, receive, send):
    global entered
    entered += 1
    if what == "record":
        try:
            meterline.record("tokens", 1, model="large")
            meterline.set_property("region", "eu")
        except RecursionError:
            pass
    if what == "raise":
        raise LookupError
    if what == "websocket":
        await send({{"type": "websocket.accept"}})
        await send({{"type": "websocket.close"}})
        return
    if what == "deep":
        meterline.set_subject("acct_1")
        await deeper(80 - left, send)
        return
    await answer(send)

async def deeper(n, send):
    await (answer(send) if n <= 0 else deeper(n - 1, send))

async def answer(send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    for left in range(3 if what == "stream" else 1, 0, -1):
        message = {{"type": "http.response.body", "body": b"x", "more_body": left > 1}}
        await send(message)

async def send(message):
    pass

def subject(scope):
    return down(3, lambda: "acct_1")

def outcome(serving):
    kind = "websocket" if what == "websocket" else "http"
    scope = {{"type": kind, "method": "GET", "path": "/", "headers": []}}
    try:
        serving(scope, None, send).__await__().send(None)
    except StopIteration:
        return "answered"
    except Exception as error:
        return type(error).__name__

def seen(left, serving):
    try:
        at_left = 80 if what == "deep" else left
        return copy_context().run(at, at_left, lambda: outcome(serving))
    except RecursionError as error:
        return type(error).__name__

for left in range(1, 61):
    options = {{"subject": subject}} if what == "subject" else {{}}
    metered = MeterMiddleware(app, app_name=f"left {{left}}", **where, **options)
    metered.templates[id(None)] = "/known"  # nobody has to look for a route
    if is_open:
        metered.meter.open()
    bare = "" if what == "record" else seen(left, app)
    entered = 0
    ours = seen(left, metered)
    with metered.meter:
        pass
    stats = metered.stats
    shown = what, left, bare, ours, entered, stats
    assert stats.recorded >= entered, shown
    assert ours in (bare, "RecursionError") or what == "record", shown
    if left > 55:  # there is room for all
        assert ours == bare or what == "record", shown
        assert stats.recorded == entered == 1 or not is_open, shown
        assert stats.failed == 0 or not is_open, shown
print("done")
"""


@pytest.mark.parametrize("is_pure", ["0", "1"])
@pytest.mark.parametrize("meter", ["open", "not open"])
@pytest.mark.parametrize(
    "what", ["plain", "record", "raise", "stream", "subject", "websocket", "deep"]
)
def test_a_request_at_the_end_of_the_stack_is_recorded_or_counted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    meter: str,
    is_pure: str,
) -> None:
    monkeypatch.setenv(VARIABLE, is_pure)

    assert run(DEEP_REQUESTS, tmp_path, what, meter).splitlines()[-1] == "done"


DEEP_FIRST = f"""{AT_DEPTHS}
import threading
for left in range(1, 130):
    meter = Meter(app_name=f"left {{left}}", **where)
    try:
        at(left, lambda: meter.record("n", 1))
        n_events = 1
    except RecursionError:
        n_events = 0
    meter.record("n", 1)
    names = [thread.name for thread in threading.enumerate()]
    kind = meter.stats.spool
    meter.close(timeout_s=0)
    stats = meter.stats
    shown = left, n_events, kind, stats, names
    assert stats.recorded == n_events + 1, shown
    assert stats.failed <= n_events, shown
    assert kind == "file", shown
    assert names.count("meterline-shipper") <= 1, shown
print("done")
"""


def test_where_the_first_event_finds_no_stack_the_next_one_finds_all(
    tmp_path: Path,
) -> None:
    assert run(DEEP_FIRST, tmp_path).splitlines()[-1] == "done"


ANGRY_LOG = """
import logging
class Angry(logging.Handler):
    def handle(self, record):
        meter.record("logged", "no number")
        raise RuntimeError("a full pipe")
logging.getLogger().addHandler(Angry())
from meterline import Meter
meter = Meter(socket="/nowhere/s")
meter.record("n", "no number")
print(meter.stats.complaints)
"""


def test_a_handler_of_logs_that_raises_or_records_is_no_matter(tmp_path: Path) -> None:
    assert "must be an exact number" in run(ANGRY_LOG, tmp_path)


def test_a_user_without_a_home_has_events_in_memory(tmp_path: Path) -> None:
    code = """
import os, encodings.idna
from meterline import Meter
os.setgroups([]); os.setgid(54321); os.setuid(54321)
meter = Meter()
meter.record("n", 1)
print(meter.failed, meter.stats.spool)
"""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )

    assert done.stdout.startswith("0 memory: "), done.stderr


# --- the end of the interpreter

LATE = """
import atexit, sys
from meterline import Meter
meter = Meter(socket="/nowhere/s")

def rows():
    try:
        while True:
            yield 1
    finally:
        meter.record("late", 1, subject="acme")

class Last:
    def __del__(self):
        Meter(socket="/nowhere/s", app_name="never opened").record("last", 1)

source, last = rows(), Last()
next(source)
if sys.argv[1] == "registered first":
    atexit.register(lambda: meter.record("n", 3))
elif sys.argv[1] == "opened before":
    meter.record("n", 1)
"""


@pytest.mark.parametrize("order", ["opened before", "never opened", "registered first"])
def test_what_is_recorded_at_the_very_end_keeps_no_process(
    tmp_path: Path, order: str
) -> None:
    assert "Traceback" not in run(LATE, tmp_path, order)

    left = b"".join(path.read_bytes() for path in tmp_path.rglob("*.seg"))
    assert b"late" in left
    assert b"last" in left


def test_many_meters_do_not_make_the_end_longer(tmp_path: Path) -> None:
    code = """
import socket, sys
from meterline import Meter
deaf = socket.socket(socket.AF_UNIX)
deaf.bind(sys.argv[1])
deaf.listen()   # and never answers
meters = [Meter(socket=sys.argv[1], app_name=f"tenant {i}") for i in range(20)]
for meter in meters:
    meter.record("n", 1)
"""

    run(code, tmp_path, str(tmp_path / "s"))
