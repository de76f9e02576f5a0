"""After a meter is closed its numbers are all there is, however it was closed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meterline import Meter
from meterline.meter import shippers
from meterline.shipper import Shipper
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S

N_EVENTS = 500


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the end of a thread that a busy machine lets wait for a second."""
    monkeypatch.setattr("meterline.shipper.END_S", PATIENCE_S)


@pytest.fixture
def where(tmp_path: Path) -> Iterator[dict[str, Any]]:
    yield {"socket": tmp_path / "s", "spool_dir": tmp_path / "spool"}
    shippers.close_all(timeout_s=0)


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_shipper: Shipper) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Shipper, "start", refuse)


def fill(meter: Meter) -> None:
    for i in range(N_EVENTS):
        meter.record("n", i)


def run(code: str, tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "METERLINE_STATE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("timeout_s", [0, -1, 1e-9, 0.01, float("nan")])
def test_all_that_was_recorded_is_counted_whatever_the_timeout(
    where: dict[str, Any], timeout_s: float
) -> None:
    meter = Meter(**where)
    for n_times in (1, 2, 3):
        fill(meter)

        meter.close(timeout_s=timeout_s)

        assert meter.stats.recorded == n_times * N_EVENTS
        meter.close(timeout_s=timeout_s)
        assert meter.stats.recorded == n_times * N_EVENTS


def test_the_spool_that_is_left_is_as_short_as_it_can_be(
    where: dict[str, Any], tmp_path: Path
) -> None:
    meter = Meter(**where)
    meter.record("n", 1)

    meter.close(timeout_s=0)

    (segment,) = tmp_path.rglob("*.seg")
    assert segment.stat().st_size < 200


@pytest.mark.parametrize("timeout_s", [0, 2])
def test_it_is_so_with_a_sidecar(
    where: dict[str, Any], tmp_path: Path, timeout_s: float
) -> None:
    with FakeSidecar(tmp_path / "s") as sidecar:
        meter = Meter(**where)
        fill(meter)
        assert meter.flush(timeout_s=PATIENCE_S)
        fill(meter)

        meter.close(timeout_s=timeout_s)

        stats = meter.stats
        assert stats.recorded == 2 * N_EVENTS
        assert N_EVENTS <= stats.acked <= stats.recorded
        assert stats.acked in (N_EVENTS, 2 * N_EVENTS) or timeout_s == 0
        assert len(sidecar.events) >= stats.acked


def test_it_is_so_where_there_is_no_thread(
    where: dict[str, Any], no_thread: None
) -> None:
    first, second = Meter(**where), Meter(**where)
    second.record("n", 1)
    fill(first)

    first.close(timeout_s=0)

    assert first.stats.recorded == 1 + N_EVENTS
    second.close(timeout_s=0)
    assert second.stats.recorded == 1 + N_EVENTS


def test_it_is_so_where_others_go_on_with_the_same_spool(where: dict[str, Any]) -> None:
    first, second = Meter(**where), Meter(**where)
    second.record("n", 1)
    fill(first)

    first.close(timeout_s=0)
    second.record("n", 2)

    assert first.stats.recorded == 1 + N_EVENTS
    second.close(timeout_s=0)
    assert second.stats.recorded == 2 + N_EVENTS
    assert first.stats.recorded == 1 + N_EVENTS


def test_a_forked_child_counts_its_own(where: dict[str, Any]) -> None:
    meter = Meter(**where)
    fill(meter)
    meter.fail()

    child = os.fork()
    if not child:
        meter.record("n", 1)
        meter.close(timeout_s=0)
        stats = meter.stats
        os._exit(10 * stats.failed + stats.recorded)
    _, status = os.waitpid(child, 0)
    meter.close(timeout_s=0)

    assert os.waitstatus_to_exitcode(status) == 1
    assert (meter.stats.recorded, meter.stats.failed) == (N_EVENTS + 1, 1)


def test_whoever_looks_while_it_is_closed_never_sees_less(
    where: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = Meter(**where)
    seen = list[int]()
    close = Shipper.close

    def look_and_close(shipper: Shipper) -> None:
        seen.append(meter.stats.recorded)
        close(shipper)
        seen.append(meter.stats.recorded)

    with FakeSidecar(tmp_path / "s"):
        fill(meter)
        assert meter.flush(timeout_s=PATIENCE_S)
        monkeypatch.setattr(Shipper, "close", look_and_close)
        meter.close(timeout_s=0)

    assert seen == [N_EVENTS, N_EVENTS]


def test_events_of_threads_that_record_meanwhile_are_all_counted(
    where: dict[str, Any],
) -> None:
    meter = Meter(**where, sync_interval_s=0)
    threads = [threading.Thread(target=fill, args=(meter,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        meter.close(timeout_s=0)
    meter.close(timeout_s=0)

    assert (meter.stats.recorded, meter.stats.failed) == (4 * N_EVENTS, 0)


AT_EXIT = """
import atexit
import meterline.shipper
from meterline import Meter
meterline.shipper.END_S = 100
meter = Meter(socket="/nowhere/s")
# In this order: it runs after those of the package, which are registered before.
import meterline.meter
atexit.unregister(meterline.meter._at_exit)
atexit.register(lambda: print(meter.stats.recorded))
atexit.register(meterline.meter._at_exit)
for i in range(500):
    meter.record("n", i)
"""


def test_after_the_end_of_the_process_all_is_counted(tmp_path: Path) -> None:
    assert run(AT_EXIT, tmp_path) == "500\n"


INTERRUPTED = """
import faulthandler, os, sys, tempfile
import meterline.shipper
from meterline import Meter
meterline.shipper.END_S = 100
faulthandler.dump_traceback_later(100, exit=True)

def interrupted(what, line):
    # As a handler of signals that records and closes, at a line of whatever runs.
    where = {"socket": "/nowhere/s", "spool_dir": tempfile.mkdtemp(), "sync_interval_s": 0}
    meter = Meter(**where)
    meter.record("n", 1)
    left, has_come, n_events = line, False, 1

    def trace(frame, event, _given):
        nonlocal left, has_come, n_events
        name = frame.f_code.co_filename
        if frame.f_code.co_name == "_replace" or not name.startswith(ROOMS):
            return None
        left -= event == "line"
        if not left and not has_come:
            has_come = True
            sys.settrace(None)
            meter.record("n", 1)
            n_events += 1
            meter.close(timeout_s=0)
        return trace

    sys.settrace(trace)
    if what == "flush":
        meter.flush(timeout_s=0.01)
    elif what == "close":
        meter.close(timeout_s=0)
    else:
        meter.close(timeout_s=0)
        meter.record("n", 1)
        n_events += 1
    sys.settrace(None)
    meter.close(timeout_s=0)
    stats = meter.stats
    assert (stats.recorded, stats.failed) == (n_events, 0), (what, line, stats)
    assert not stats.troubles, (what, line, stats.troubles)
    return has_come

import meterline, threading
ROOMS = (os.path.dirname(meterline.__file__), threading.__file__)
line = 1
while interrupted(sys.argv[1], line):
    line += 1 if sys.argv[1] != "open" else 3
print(line > 20)
"""


@pytest.mark.parametrize("what", ["flush", "close", "open"])
def test_a_handler_of_signals_may_close_at_any_line(tmp_path: Path, what: str) -> None:
    assert run(INTERRUPTED, tmp_path, what) == "True\n"
