"""One server whose app is now the bare one, now one with an empty middleware, now metered.

A server loads ``benchmarks.peers.switching:app``, and ``SWITCHED`` names the apps. It goes
from one to the next every 200 requests; ``/measured`` says what each turn has cost.
"""

import json
import os
import sys
import threading
import time
from typing import Any, Final

from benchmarks.peers.apps import bare, meterline

TURN: Final = 200  # requests, about 20 ms
MEASURED: Final = "/measured"
APPS: Final = "SWITCHED"
SHIPPER: Final = "meterline-shipper"  # the thread that takes events to the sidecar


class Empty:
    """A middleware that only awaits the app inside."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass all of it on."""
        await self._app(scope, receive, send)


def _with_empty() -> Any:
    app = bare()
    app.add_middleware(Empty)
    return app


class Switching:
    """Takes the apps in turn, and notes the CPU time of the thread that serves."""

    def __init__(self, apps: dict[str, Any]) -> None:
        self._apps = apps
        self._turns: dict[str, list[float]] = {name: [] for name in apps}
        self._name = next(iter(apps))
        self._n_left = TURN
        self._began_ns = time.thread_time_ns()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._apps[self._name](scope, receive, send)
            return
        if scope["path"] == MEASURED:
            await self._tell(send)
            return
        if not self._n_left:
            self._take_turns()
        self._n_left -= 1
        await self._apps[self._name](scope, receive, send)

    def _take_turns(self) -> None:
        took_ns = time.thread_time_ns() - self._began_ns
        self._turns[self._name].append(took_ns / TURN / 1000)
        names = [*self._apps]
        self._name = names[(names.index(self._name) + 1) % len(names)]
        self._n_left = TURN
        self._began_ns = time.thread_time_ns()

    async def _tell(self, send: Any) -> None:
        body = json.dumps({"turns": self._turns, "shipping_s": _shipping_s()}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


def _shipping_s() -> float:
    for thread in threading.enumerate():
        if thread.name == SHIPPER and thread.ident is not None:
            return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return 0.0


def __getattr__(name: str) -> Any:
    """Make the app where a server asks for it: only there its libraries are."""
    if name != "app":
        raise AttributeError(name)
    makers = {"bare": bare, "empty": _with_empty, "metered": meterline}
    app = Switching({kind: makers[kind]() for kind in os.environ[APPS].split(",")})
    setattr(sys.modules[__name__], name, app)
    return app
