"""What is compiled where apps do what few do: own clocks, own meters, interrupts."""

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

import meterline
from meterline import MeterMiddleware, compiled
from meterline.asgi_types import Message, Receive, Scope, Send
from meterline.quantities import good_names
from meterline.traffic import traffic
from tests.asgi_driver import http_scope
from tests.unit.middleware.test_compiled import COMPILED, IN_PYTHON, python, receive


class Whole(int):
    """A whole number of an app's own class."""


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


async def nowhere(message: Message) -> None:
    pass


@pytest.mark.parametrize("answer", [1.5e18, 2**70, -(2**63), Whole(5_000), True])
@pytest.mark.parametrize(
    "clock", ["asgi.time_ns", "asgi.perf_counter_ns", "exchange.perf_counter_ns"]
)
def test_both_ways_take_what_a_clock_says_that_was_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: str, answer: object
) -> None:
    monkeypatch.setattr("meterline.asgi.time_ns", lambda: 1_780_000_000_123_999_999)
    monkeypatch.setattr("meterline.asgi.perf_counter_ns", lambda: 2**62)
    monkeypatch.setattr("meterline.exchange.perf_counter_ns", lambda: 2**62 + 5_000)
    monkeypatch.setattr(f"meterline.{clock}", lambda: answer)

    def said(way: Any) -> tuple[list[Any], int]:
        middleware = MeterMiddleware(answering, socket=tmp_path / "s", disabled=True)
        meter = middleware.meter
        events: list[Any] = []
        meter.append = lambda event: events.append(msgspec.msgpack.decode(event))
        with contextlib.suppress(StopIteration):
            way(middleware, http_scope(), receive, nowhere).__await__().send(None)
        return events, meter.failed

    events, failed = said(IN_PYTHON)

    assert len(events) == 1 - failed
    assert said(COMPILED) == (events, failed)


class OwnMeter(meterline.Meter):
    """A meter of an app's own, which looks at what it records."""

    def __init__(self, **options: Any) -> None:
        self.looked_at: list[bytes] = []
        super().__init__(**options)

    def _look_at(self, payload: bytes) -> None:
        self.looked_at.append(payload)

    append = property(lambda self: self._look_at, lambda self, value: None)  # pyright: ignore[reportAssignmentType, reportIncompatibleVariableOverride]


@pytest.mark.parametrize("way", [IN_PYTHON, COMPILED], ids=["python", "compiled"])
def test_a_meter_of_an_apps_own_class_appends_its_own_way(
    tmp_path: Path, way: Any
) -> None:
    middleware = MeterMiddleware(answering, socket=tmp_path / "s", disabled=True)
    middleware.meter = meter = OwnMeter(socket=tmp_path / "s", disabled=True)

    with contextlib.suppress(StopIteration):
        way(middleware, http_scope(), receive, nowhere).__await__().send(None)

    assert len(meter.looked_at) == 1
    assert meter.failed == 0


@pytest.mark.parametrize(
    "record",
    [compiled.in_python["record"], meterline.record],
    ids=["python", "compiled"],
)
def test_who_interrupts_a_record_gets_what_was_raised_and_no_lock_stays(
    tmp_path: Path, record: Callable[..., None]
) -> None:
    raised: list[BaseException] = []

    def interrupt(frame: FrameType, what: str, given: object) -> None:
        if frame.f_code.co_name == "watch":
            raise KeyboardInterrupt

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        before = sys.gettrace(), sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)  # so that these are to be set once more
        sys.settrace(interrupt)
        try:
            record("tokens", 1)
        except BaseException as error:  # noqa: BLE001
            raised.append(error)
        finally:
            sys.settrace(before[0])
            sys.set_asyncgen_hooks(*before[1])
        await answering(scope, receive, send)

    middleware = MeterMiddleware(app, socket=tmp_path / "s", spool_dir=tmp_path)
    middleware.meter.open()
    good_names.add("tokens")
    with contextlib.suppress(StopIteration):
        middleware(http_scope(), receive, nowhere).__await__().send(None)
    middleware.meter.close(timeout_s=0)

    assert [type(error) for error in raised] == [KeyboardInterrupt]
    with ThreadPoolExecutor(1) as other:
        assert other.submit(traffic.lock.acquire, blocking=False).result()
        other.submit(traffic.lock.release).result()


def test_where_it_cannot_read_our_objects_all_goes_the_way_inpython(
    tmp_path: Path,
) -> None:
    told = python(
        "import importlib.util, sys;"
        "spec = importlib.util.find_spec('meterline');"
        "sys.modules['meterline'] = package = importlib.util.module_from_spec(spec);"
        "from meterline.waiting import Room;"
        "units = Room.units;"  # as another msgspec, or another Python, might do
        "Room.units = property(units.__get__, units.__set__);"
        "spec.loader.exec_module(package);"
        "from meterline.complaints import troubles;"
        "from tests.unit.middleware.test_compiled_edges import answering, nowhere;"
        "from tests.unit.middleware.test_compiled import receive;"
        "from tests.asgi_driver import http_scope;"
        "middleware = package.MeterMiddleware(answering, disabled=True);"
        "events = []; middleware.meter.append = events.append;"
        "list(middleware(http_scope(), receive, nowhere).__await__());"
        "print(package.asgi.MeterMiddleware.__call__.__name__, len(events), *troubles.counts)",
        PYTHONPATH=str(Path(__file__).parents[3]),
        METERLINE_SOCKET=str(tmp_path / "s"),
    )

    problem = " the compiled part cannot be used: <class 'meterline.waiting.Room'> has no slot units"
    assert told == "__call__ 1" + (problem if compiled.native is not None else "")
