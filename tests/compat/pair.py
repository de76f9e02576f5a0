"""Serves one app under one server, and looks at what was recorded.

    python -m tests.compat.pair FRAMEWORK SERVER

Prints nothing and ends with 0 if all is right; else says what was found.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from meterline.usage_event import UsageEvent
from tests.compat.apps import PIECE, PIECES, WSGI
from tests.fake_sidecar import FakeSidecar
from tests.patience import PATIENCE_S

APP: Final = "tests.compat.apps:app"
SERVERS: Final = {
    "uvicorn": "uvicorn --host 127.0.0.1 --port {port} {app}",
    "hypercorn": "hypercorn --bind 127.0.0.1:{port} {app}",
    "granian": "granian --interface {kind} --host 127.0.0.1 --port {port} {app}",
    "daphne": "daphne -b 127.0.0.1 -p {port} {app}",
    "gunicorn": "gunicorn --bind 127.0.0.1:{port} {worker} {app}",
}
WSGI_SERVERS: Final = {
    "gunicorn-threads": "gunicorn -k gthread --threads 4 --bind 127.0.0.1:{port} {app}",
    "gunicorn-gevent": "gunicorn -k gevent --bind 127.0.0.1:{port} {app}",
    "uwsgi": "uwsgi --http-socket 127.0.0.1:{port} --master --die-on-term --need-app"
    " --module {app}",
    "waitress": "waitress-serve --listen=127.0.0.1:{port} {app}",
}
STOP_S: Final = 10.0
ASYNC_WORKER: Final = "-k uvicorn_worker.UvicornWorker"
ROUTES: Final = {
    "starlette": "/use/{n}",
    "fastapi": "/use/{n}",
    "strawberry": "/graphql/{path}",
    "litestar": "/use/{n}",
    "quart": "/use/<int:n>",
    "flask": "/use/<int:n>",
    "django": "/use/<int:n>",
    "django_wsgi": "/use/<int:n>",
    "sanic": None,
    "blacksheep": None,
}


def ask(port: int, path: str, body: str | None = None) -> tuple[int, str]:
    """Send one request; return the status and the body of its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {} if body is None else {"Content-Type": "application/json"}
    with contextlib.closing(connection):
        connection.request("GET" if body is None else "POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def wrong(framework: str, port: int, sidecar: FakeSidecar) -> str:
    """Send the three requests; return what is not as it must be."""
    used: tuple[str, str | None] = ("/use/5", None)
    if framework == "strawberry":
        used = ("/graphql/", '{"query": "{ use }"}')
    answers: list[tuple[int, str]] = []
    for path, body in (used, ("/stream", None), ("/fails", None)):
        answers.append(ask(port, path, body))
        # Threads serve at once: what is asked next may be recorded before this one.
        try:
            sidecar.wait_for_events(len(answers))
        except AssertionError as error:
            return f"answered {answers}, and recorded less: {error}"
    statuses = [status for status, _ in answers]
    if statuses != [200, 200, 500] or answers[1][1] != PIECE * PIECES:
        return f"answered {answers}"
    found = [_facts(event) for event in sidecar.wait_for_events(3)]
    expected = [
        (200, "acme", 5, len(answers[0][1])),
        (200, "acme", PIECES, len(PIECE * PIECES)),
        (500, "acme", 0, len(answers[2][1].encode())),
    ]
    if found != expected:
        return f"recorded {found}, not {expected}"
    route = sidecar.events[0].route
    return "" if route == ROUTES[framework] else f"recorded the route {route}"


def _facts(event: UsageEvent) -> tuple[int, str | None, object, int]:
    tokens = (event.quantities or {}).get("tokens", 0)
    return event.status, event.subject, tokens, event.bytes_out


def _until_listening(process: "subprocess.Popen[bytes]", port: int) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def main(framework: str, server: str) -> str:
    """Serve the app; return what is wrong."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kind, worker = ("wsgi", "") if framework in WSGI else ("asgi", ASYNC_WORKER)
    command = (SERVERS | WSGI_SERVERS)[server].format(
        port=port, kind=kind, worker=worker, app=APP
    )
    program, *arguments = command.split()
    with tempfile.TemporaryDirectory() as folder, FakeSidecar(Path(folder, "s")) as it:
        log = Path(folder, "log")
        environment = {
            **os.environ,
            "COMPAT_APP": framework,
            "METERLINE_SOCKET": str(it.path),
            "METERLINE_SPOOL_DIR": f"{folder}/spool",
        }
        with log.open("wb") as out:
            process = subprocess.Popen(
                [Path(sys.executable).parent / program, *arguments],
                env=environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            if not _until_listening(process, port):
                return f"did not start: {log.read_text()[-3000:]}"
            problem = wrong(framework, port, it)
            return problem and f"{problem}\n{log.read_text()[-3000:]}"
        except (OSError, AssertionError, http.client.HTTPException) as error:
            return f"{error!r}\n{log.read_text()[-3000:]}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
            # Its workers, too: a server that is killed leaves them behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or None)  # an empty text would be a failure
