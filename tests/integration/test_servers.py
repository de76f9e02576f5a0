"""Under real servers: what only they do, and how they fork, reload and end."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meterline.events import Flag
from meterline.spool.dead import spool_directories
from meterline.usage_event import UsageEvent
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S
from tests.sidecar_process import until

pytestmark = pytest.mark.slow

UVICORN = [sys.executable, "-m", "uvicorn", "tests.served_app:app", "--uds"]
GUNICORN = [
    *(sys.executable, "-m", "gunicorn", "tests.served_app:app"),
    # A worker that is told to end while it begins would be waited for.
    *("--graceful-timeout", "3"),
    "--bind",
]


class Server:
    """A server process that listens on a Unix socket."""

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path) -> None:
        self.process = process
        self.path = path

    def ask(self, request: bytes) -> bytes:
        """Send bytes; return all that comes until the server closes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(self.path))
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def get(self, path: str = "/hello") -> bytes:
        """Send a GET and return the response."""
        text = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return self.ask(text.encode())

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)

    def is_listening(self) -> bool:
        assert self.process.poll() is None, "it ended at its start"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
            return attempt.connect_ex(str(self.path)) == 0


@contextmanager
def running(command: list[str], folder: Path, **environment: str) -> Generator[Server]:
    path = folder / "http"
    bind = f"unix:{path}" if "gunicorn" in command else str(path)
    where = {
        "METERLINE_SOCKET": str(folder / "s"),
        "METERLINE_SPOOL_DIR": str(folder / "spool"),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    place = command.index("--uds" if "--uds" in command else "--bind") + 1
    process = subprocess.Popen(
        [*command[:place], bind, *command[place:]],
        env={**os.environ, **where, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = Server(process, path)
    try:
        until(server.is_listening)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    with FakeSidecar(tmp_path / "s") as fake:
        yield fake


@pytest.fixture
def uvicorn(tmp_path: Path, sidecar: FakeSidecar) -> Iterator[Server]:
    with running(UVICORN, tmp_path) as server:
        yield server


def pids(events: list[UsageEvent]) -> Counter[int]:
    return Counter(int((event.quantities or {})["pid"]) for event in events)


# --- what only a server does


def test_http_1_0_is_recorded_like_any_other(
    uvicorn: Server, sidecar: FakeSidecar
) -> None:
    answer = uvicorn.ask(b"GET /hello HTTP/1.0\r\n\r\n")

    (event,) = sidecar.wait_for_events(1)
    assert answer.endswith(b"hello")
    assert (event.status, event.bytes_out, event.flags) == (200, 5, 0)


def test_a_chunked_body_counts_without_its_framing(
    uvicorn: Server, sidecar: FakeSidecar
) -> None:
    uvicorn.ask(
        b"POST /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n5\r\ndefgh\r\n0\r\n\r\n"
    )

    (event,) = sidecar.wait_for_events(1)
    assert event.bytes_in == 8


@pytest.mark.parametrize(("path", "bytes_in"), [("/read", 5), ("/leave", 0)])
def test_expect_100_continue_counts_a_body_only_if_it_came(
    uvicorn: Server, sidecar: FakeSidecar, path: str, bytes_in: int
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(str(uvicorn.path))
        connection.sendall(head.encode())
        answer = connection.recv(65536)
        if b"100 Continue" in answer:
            connection.sendall(b"12345")
            answer = connection.recv(65536)

    (event,) = sidecar.wait_for_events(1)
    assert event.bytes_in == bytes_in


def test_a_client_that_hangs_up_makes_an_incomplete_event(
    uvicorn: Server, sidecar: FakeSidecar
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(uvicorn.path))
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        received = 0
        while received < 3000:  # the head, and some of the body
            received += len(connection.recv(2000))

    (event,) = sidecar.wait_for_events(1)
    assert event.status == 200
    assert 0 < event.bytes_out < 1_000_000
    assert event.flags & Flag.INCOMPLETE


def test_pipelined_requests_are_events_of_their_own(
    uvicorn: Server, sidecar: FakeSidecar
) -> None:
    one = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    uvicorn.ask(one * 5 + last)

    events = sidecar.wait_for_events(6)
    assert [event.status for event in events] == [200] * 5 + [404]
    assert [event.quantities is None for event in events] == [False] * 5 + [True]


def test_what_is_left_out_by_the_environment_costs_others_nothing(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    read = b"POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%s\r\nhi"
    hello = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"

    with running(UVICORN, tmp_path, METERLINE_EXCLUDE="/hello,NOISE 413") as server:
        # In one connection: what /hello records must not be the request's before it.
        answers = server.ask(read % b"" + hello + read % b"Connection: close\r\n")
        server.ask(b"OPTIONS /read HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        server.ask((read % b"Connection: close\r\n").replace(b"read", b"leave"))
        server.end()

    assert answers.count(b"200 OK") == 3
    assert [(e.route, e.quantities) for e in sidecar.events] == [("/read", None)] * 2


# --- how servers end


@pytest.mark.parametrize(
    "command",
    [
        UVICORN,
        [*UVICORN, "--loop", "uvloop"],
        [*UVICORN, "--loop", "asyncio", "--lifespan", "off"],
        [*GUNICORN, "-k", "uvicorn.workers.UvicornWorker"],
        [*GUNICORN, "-k", "asgi"],
    ],
    ids=["uvicorn", "uvloop", "no lifespan", "gunicorn, uvicorn", "gunicorn, asgi"],
)
def test_a_deploy_loses_nothing(
    tmp_path: Path, sidecar: FakeSidecar, command: list[str]
) -> None:
    with running(command, tmp_path) as server:
        for _ in range(20):
            server.get()
        server.end()
    with running(command, tmp_path) as server:
        server.get()

    sidecar.wait_for_events(21)
    sidecar.assert_complete()
    assert sidecar.lost == 0


def test_a_server_that_is_killed_loses_nothing_that_it_answered(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    sidecar.stop()
    with running(UVICORN, tmp_path) as server:
        for _ in range(20):
            server.get()
        server.end(signal.SIGKILL)
    assert len(spool_directories(tmp_path / "spool")) == 1
    sidecar.start()
    with running(UVICORN, tmp_path) as server:
        server.get()
        sidecar.wait_for_events(21)

    sidecar.assert_complete()


# --- how servers fork


def test_two_uvicorn_workers_are_two_producers(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    with running([*UVICORN, "--workers", "2"], tmp_path) as server:
        until(lambda: server.get() and len(pids(sidecar.events)) == 2)
        server.end()

    for ledger in sidecar.ledgers.values():
        assert set(pids(list(ledger.events.values()))) == {ledger.hellos[0].pid}
    sidecar.assert_complete()


@pytest.mark.parametrize("serves_once", ["", "1"], ids=["unused", "used before"])
def test_under_gunicorn_preload_every_worker_ships_its_own_events(
    tmp_path: Path, sidecar: FakeSidecar, serves_once: str
) -> None:
    command = [*GUNICORN, "--preload", "--workers", "3", "-k", "asgi"]
    with running(command, tmp_path, SERVE_ONCE_AT_IMPORT=serves_once) as server:
        for _ in range(100):
            server.get()
        expected = 100 + len(serves_once)
        sidecar.wait_for_events(expected)

    assert len(sidecar.events) == expected
    # Every process speaks for itself, the parent too if it was used.
    for ledger in sidecar.ledgers.values():
        assert set(pids(list(ledger.events.values()))) <= {ledger.hellos[0].pid}
    sidecar.assert_complete()


def test_a_forked_child_begins_anew_and_leaves_the_parent_alone(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    code = """
import os, meterline
meter = meterline.Meter()
for i in range(1000):
    meter.record("n", i)
for child in range(3):
    if os.fork() == 0:
        for i in range(1000):
            meter.record("n", 10_000 * (child + 1) + i)
        meter.close(timeout_s=100)
        os._exit(0)
for i in range(1000, 2000):
    meter.record("n", i)
for child in range(3):
    os.wait()
meter.close(timeout_s=100)
"""
    where = {
        "METERLINE_SOCKET": str(tmp_path / "s"),
        "METERLINE_SPOOL_DIR": str(tmp_path / "spool"),
    }
    subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **where},
        check=True,
        timeout=PATIENCE_S,
    )

    found = sorted((event.quantities or {})["n"] for event in sidecar.events)
    children = [10_000 * c + i for c in (1, 2, 3) for i in range(1000)]
    assert found == [*range(2000), *children]
    assert len(sidecar.ledgers) == 4
    assert all(ledger.is_closed for ledger in sidecar.ledgers.values())
    assert spool_directories(tmp_path / "spool") == []


def test_a_copy_of_a_meter_is_another_one_with_the_same_options(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    code = """
import copy, os, pickle, meterline
meter = meterline.Meter(app_name="ours")
meter.record("n", 1)
meter.failed, meter._retry_at_s = 7, 1e12
copies = [copy.copy(meter), copy.deepcopy(meter), pickle.loads(pickle.dumps(meter))]
if os.fork() == 0:
    for number, each in enumerate(copies, 2):
        each.record("n", number)
        assert each.stats.failed == 0
    for each in copies:
        each.close(timeout_s=100)
    os._exit(0)
os.wait()
copies[0].record("n", 5)
for each in [meter, *copies]:
    each.close(timeout_s=100)
"""
    where = {
        "METERLINE_SOCKET": str(tmp_path / "s"),
        "METERLINE_SPOOL_DIR": str(tmp_path / "spool"),
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **where},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )

    found = sorted((event.quantities or {})["n"] for event in sidecar.events)
    assert found == [1, 2, 3, 4, 5]
    assert {ledger.hellos[0].app for ledger in sidecar.ledgers.values()} == {"ours"}
    assert len(sidecar.ledgers) == 2
    assert all(ledger.is_closed for ledger in sidecar.ledgers.values())
    assert done.stderr == ""


def test_a_child_that_lives_on_does_not_keep_its_parents_spool_locked(
    tmp_path: Path, sidecar: FakeSidecar
) -> None:
    sidecar.stop()
    code = """
import os, sys, meterline
meter = meterline.Meter()
meter.record("n", 1)
if os.fork() == 0:
    sys.stdin.read()  # until the test ends
    os._exit(0)
os.kill(os.getpid(), 9)
"""
    where = {
        "METERLINE_SOCKET": str(tmp_path / "s"),
        "METERLINE_SPOOL_DIR": str(tmp_path / "spool"),
    }
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **where},
        stdin=subprocess.PIPE,
    )
    parent.wait(PATIENCE_S)
    sidecar.start()
    with running(UVICORN, tmp_path) as server:
        server.get()

        sidecar.wait_for_events(2)

    assert parent.stdin is not None
    parent.stdin.close()
