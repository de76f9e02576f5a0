"""Whatever happens to the sidecar: the app serves on, as fast, in bounded memory."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import meterline
from meterline import MeterMiddleware
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.spool.dead import spool_directories
from tests.asgi_driver import call, http_scope
from tests.fake_sidecar import FakeSidecar
from tests.fault.host import rounds
from tests.patience import PATIENCE_S
from tests.sidecar_process import SidecarProcess, until

pytestmark = [pytest.mark.fault, pytest.mark.slow]

Wrap = Callable[[Path], MeterMiddleware]


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    meterline.set_subject(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def nothing_to_receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def nowhere(message: Message) -> None:
    pass


def serve(app: ASGIApp, n_requests: int, *, prefix: str = "/") -> None:
    """Serve requests of this app, which never waits, without an event loop."""

    def step() -> None:
        app(scope, nothing_to_receive, nowhere).__await__().send(None)

    for i in range(n_requests):
        scope = http_scope(f"{prefix}{i}")
        with pytest.raises(StopIteration):
            copy_context().run(step)  # as a server's task: nothing of it stays here


@pytest.fixture
def wrap() -> Iterator[Wrap]:
    """Return a function that meters the raw app for the sidecar in a folder."""
    made: list[MeterMiddleware] = []

    def make(folder: Path) -> MeterMiddleware:
        middleware = MeterMiddleware(
            raw, socket=folder / "meterline.sock", spool_dir=folder / "spool"
        )
        made.append(middleware)
        return middleware

    yield make
    for middleware in made:
        middleware.meter.close(timeout_s=0)


def test_a_stopped_sidecar_keeps_no_app_waiting_and_gets_it_all_later(
    tmp_path: Path, wrap: Wrap
) -> None:
    folders = {name: tmp_path / name for name in ("running", "stopped", "absent")}
    for folder in folders.values():
        folder.mkdir()
    with (
        SidecarProcess(folders["running"]),
        SidecarProcess(folders["stopped"]) as stopped,
    ):
        apps = {name: wrap(folder) for name, folder in folders.items()}
        serve(apps["stopped"], 100)
        assert apps["stopped"].meter.flush(timeout_s=PATIENCE_S)
        os.kill(stopped.pid, signal.SIGSTOP)
        try:
            # What it takes is for `make bench` to tell; here: that it goes on.
            for app in apps.values():
                serve(app, 15_000)
        finally:
            os.kill(stopped.pid, signal.SIGCONT)

        assert apps["stopped"].meter.flush(timeout_s=PATIENCE_S)
        until(lambda: stopped.get("/status")["events"]["ingested"] == 15_100)


def test_restarts_of_the_sidecar_lose_and_double_nothing(
    tmp_path: Path, wrap: Wrap
) -> None:
    app = wrap(tmp_path)
    n_restarts = rounds(
        5, soak=50
    )  # test_shipping.py has fifty, of a receiver that starts quicker
    with SidecarProcess(tmp_path) as sidecar:
        for i in range(n_restarts):
            serve(app, 200, prefix=f"/{i}/")
            if i % 2:
                sidecar.kill()
            else:
                assert sidecar.stop() == 0
            serve(app, 100, prefix=f"/{i}/away/")
            sidecar.start()
        assert app.meter.flush(timeout_s=PATIENCE_S)

        events = sidecar.get("/status")["events"]
        assert events["ingested"] == events["recorded"] == 300 * n_restarts
        assert events["lost"] == 0


def test_a_flood_of_paths_and_subjects_takes_no_memory(
    tmp_path: Path, wrap: Wrap
) -> None:
    app = wrap(tmp_path)
    n_paths = rounds(150_000, soak=1_000_000)
    serve(app, 20_000)
    before = sys.getallocatedblocks()

    serve(app, n_paths)

    assert sys.getallocatedblocks() - before < 20_000
    until(lambda: app.stats.recorded == n_paths + 20_000)
    spool_bytes = sum(
        file.stat().st_size
        for directory in spool_directories(tmp_path / "spool")
        for file in Path(directory).iterdir()
    )
    assert spool_bytes <= app.meter.options.spool_bytes_max + (1 << 20)


def test_two_event_loops_in_two_threads_share_one_middleware(tmp_path: Path) -> None:
    async def endpoint(request: Request) -> Response:
        number = int(request.path_params["n"])
        meterline.record("n", number)
        await asyncio.sleep(0)
        meterline.set_subject(f"acct_{number}")
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route("/{n}", endpoint)])
    with FakeSidecar(tmp_path / "s") as sidecar:
        metering = MeterMiddleware(
            app, socket=tmp_path / "s", spool_dir=tmp_path / "spool"
        )

        async def serve_all(start: int) -> None:
            for i in range(start, start + 1000):
                await call(metering, f"/{i}")

        threads = [
            threading.Thread(target=asyncio.run, args=(serve_all(start),))
            for start in (0, 1000)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        metering.meter.close(timeout_s=PATIENCE_S)

        found = {
            (event.quantities or {})["n"]: event.subject for event in sidecar.events
        }
        assert found == {i: f"acct_{i}" for i in range(2000)}
        assert len(sidecar.events) == 2000
