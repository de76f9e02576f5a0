"""What an app pays for naming the package, before it serves anything."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from meterline.compiled import VARIABLE
from meterline.spool.living import Spool
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S
from tests.producer import event

BESIDES_MSGSPEC: Final = {
    "_contextvars",
    "_socket",
    "_struct",
    "_weakrefset",
    "atexit",
    "contextvars",
    "errno",
    "fcntl",
    "gc",
    "math",
    "mmap",
    "numbers",
    "struct",
    "threading",
    "zlib",
}
"""All that may be loaded in a bare interpreter. What is not here takes milliseconds that
each process of an app pays: ``logging``, ``pathlib`` and ``socket`` took a third of all."""

LATER: Final = """
import atexit, os, sys, time
from contextvars import copy_context
later = []
atexit.register(lambda: print("later:", *later))  # the last that runs
import meterline, meterline.wsgi
from meterline import MeterMiddleware

async def app(scope, receive, send):
    meterline.set_subject("acct_1")
    meterline.set_property("region", "eu")
    meterline.record("tokens", 1, model="large")
    meterline.record("seconds", "1.25", id="job 7")
    meterline.record("seconds", 0.5)
    meterline.set_total("seats", 3)
    meterline.current().record("later", 1)
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/raises":
        raise LookupError("an error of the app's own")
    await send({"type": "http.response.body", "body": b"x"})

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    pass

def refuse(scope):
    raise LookupError("no subject")

def wsgi(environ, start_response):
    meterline.record("tokens", 1)
    start_response("200 OK", [])
    return [b"x"]

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        later.append(name)

where = {"socket": sys.argv[1], "spool_dir": sys.argv[2]}
metered = MeterMiddleware(
    app, exclude=meterline.NOISE, idempotency_header="x-key", **where
)
unnamed = MeterMiddleware(app, subject=refuse, **where)
metered_wsgi = meterline.wsgi.MeterMiddleware(wsgi, **where)
sys.meta_path.insert(0, Finder)

def step(serving, path):
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"x-key", b"1")]}
    try:
        serving(scope, receive, send).__await__().send(None)
    except (StopIteration, LookupError):
        pass

for serving in (metered, unnamed):
    for path in ("/", "/raises", "/healthz"):
        copy_context().run(step, serving, path)
list(metered_wsgi({"REQUEST_METHOD": "GET", "PATH_INFO": "/"}, lambda *given: None))
meter = meterline.Meter(**where)
meter.record("n", "a lot")
meter.record("n", 1)
assert meter.flush(timeout_s=60)
end_s = time.monotonic() + 60
while len(os.listdir(sys.argv[2])) > 1 and time.monotonic() < end_s:
    time.sleep(0.01)  # until what the dead worker left is sent
meter.record("n", 1)
"""


def loaded_by(module: str) -> set[str]:
    """Return what importing a module loads where nothing is loaded."""
    code = f"import sys, {module}; print(*sys.modules)"
    paths = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env=paths,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_importing_it_loads_nothing_that_not_every_app_needs() -> None:
    loaded = loaded_by("meterline") - loaded_by("msgspec")

    ours = {name for name in loaded if name.split(".")[0] == "meterline"}
    assert "meterline.asgi" in ours
    assert loaded - ours - BESIDES_MSGSPEC == set()


@pytest.mark.parametrize("is_pure", ["0", "1"])
def test_nothing_is_loaded_by_a_request_a_thread_or_at_the_end(
    tmp_path: Path, is_pure: str
) -> None:
    # A child that is forked while a thread imports waits for that for ever.
    spool_dir = tmp_path / "spool"
    dead = Spool.open(spool_dir, app="a", host="h", pid=1, bytes_max=1 << 22)
    dead.writer.append(msgspec.msgpack.encode(event()))
    dead.abandon()
    command = [sys.executable, "-c", LATER, str(tmp_path / "s"), str(spool_dir)]

    with FakeSidecar(tmp_path / "s") as sidecar:
        done = subprocess.run(
            command,
            env={**os.environ, VARIABLE: is_pure},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )

    assert done.stdout == "later:\n"
    assert len(sidecar.ledgers) == 2
    assert list(spool_dir.iterdir()) == []
    assert "meterline: a quantity must be exact" in done.stderr


def test_what_is_loaded_late_is_there_all_the_same() -> None:
    code = "import meterline; print(meterline.portal_token.__name__)"
    command = [sys.executable, "-c", f"{code}; meterline.nothing"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.stdout == "portal_token\n"
    assert "has no attribute 'nothing'" in done.stderr
