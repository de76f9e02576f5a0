"""Requests of an app that is metered, while the shipping thread sleeps.

python -m tests.guards.request FOLDER
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterable
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final

import meterline
from meterline import MeterMiddleware, from_trusted_header, pace
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from tests.asgi_driver import http_scope
from tests.guards.window import counted

REQUESTS: Final = 500
WHO: Final = "x-who"


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def recording(scope: Scope, receive: Receive, send: Send) -> None:
    meterline.record("tokens", 512)
    await plain(scope, receive, send)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


def serve(app: ASGIApp, scopes: Iterable[Scope]) -> None:
    """Serve requests of an app that never waits, without a server."""
    for scope in scopes:
        copy_context().run(_step, app, scope)  # as a server's task


def requests() -> list[Scope]:
    headers = [(WHO, "acme")]
    return [http_scope(f"/items/{i}", headers=headers) for i in range(REQUESTS)]


def _step(app: ASGIApp, scope: Scope) -> None:
    with contextlib.suppress(StopIteration):
        app(scope, _receive, _send).__await__().send(None)


def _wait_for_shipper(app: ASGIApp) -> None:
    """Return when the shipping thread has looked once, and sleeps from now on."""
    if isinstance(app, MeterMiddleware) and app.meter.shipper is not None:
        while not vars(app.meter.shipper)["_rounds"]:
            time.sleep(0.01)


def main(folder: Path) -> None:
    """Serve with what is always done, and with what most apps ask for besides."""
    pace.REST_S = pace.POLL_S = pace.BUSY_POLL_S = 3_600  # type: ignore[misc]
    where: dict[str, Any] = {"socket": folder / "s", "spool_dir": folder / "spool"}
    who = from_trusted_header(WHO)
    apps: dict[str, ASGIApp] = {
        "a bare request": plain,
        "a request": MeterMiddleware(plain, **where),
        "a request with subject and quantity": MeterMiddleware(
            recording, subject=who, **where
        ),
    }
    for name, app in apps.items():
        serve(app, requests())  # what is done once is done
        _wait_for_shipper(app)
        scopes = requests()
        with counted(name):
            serve(app, scopes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    os._exit(0)
