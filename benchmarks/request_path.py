"""What metering adds to a request, and what an absent sidecar changes: nothing.

First, microseconds of CPU added to a request, against the bare app: calls of the app
in this process, no server, the variants taking turns; what the shipping thread costs
stands in a column of its own. Then the latency of single requests, by the clock on
the wall, while the sidecar runs, is stopped (SIGSTOP) and is absent.

Expected from arithmetic (ns): two clocks 90, a time 60, the exchange 110, context
variable 50, two coroutines 400, three messages looked at 300, route and subject 250,
encoding 100, CRC, header and append 350: about 1.8 us.
"""

import argparse
import contextlib
import gc
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import meterline
from benchmarks.harness import heading
from meterline import MeterMiddleware, from_trusted_header
from meterline.asgi_types import ASGIApp, Message, Receive, Scope, Send
from meterline.subjects import Resolver
from meterline.wire import RECORD_HEADER
from tests.asgi_driver import http_scope
from tests.sidecar_process import SidecarProcess

CALLS: Final = 2_000  # of each variant in a round
WARM_UP_ROUNDS: Final = 2
GOALS_US: Final = {
    "Starlette, metered": 2.5,
    "Starlette, metered, a header and a quantity": 4.0,
}
WHO: Final = "x-account"
HEADERS: Final = [
    *((f"x-header-{i}", "some value or other") for i in range(8)),
    (WHO, "acct_42"),
]


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the least that an ASGI app can do."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def _plain(request: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _recording(request: Request) -> PlainTextResponse:
    meterline.set_subject("acct_42")
    meterline.record("tokens", 512)
    return PlainTextResponse("hello")


async def _counting(request: Request) -> PlainTextResponse:
    meterline.record("tokens", 512)
    return PlainTextResponse("hello")


async def _with_properties(request: Request) -> PlainTextResponse:
    meterline.set_subject("acct_42")
    meterline.record("tokens", 512, model="large", region="eu", tier="pro")
    return PlainTextResponse("hello")


def starlette(endpoint: Callable[[Request], Any]) -> Starlette:
    """Return an app of 20 routes, of which the benchmark calls the eleventh."""
    return Starlette(routes=[Route(f"/v{i}/items/{{id}}", endpoint) for i in range(20)])


class PassThrough:
    """A middleware that does nothing: the price of being there at all."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app."""
        await self.app(scope, receive, send)


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: Message) -> None:
    pass


def _call(app: ASGIApp, scope: Scope) -> None:
    """Serve one request; nothing in these apps ever has to wait."""
    with contextlib.suppress(StopIteration):
        app(scope, _receive, _send).__await__().send(None)


def _scopes() -> list[Scope]:
    return [http_scope(f"/v10/items/{i}", headers=HEADERS) for i in range(CALLS)]


def _round_us(app: ASGIApp) -> tuple[float, float]:
    """Return the mean CPU microseconds of a request: in its thread, and in others."""
    scopes = _scopes()
    gc.collect()
    start, start_all = time.thread_time(), time.process_time()
    for scope in scopes:
        _call(app, scope)
    own, together = time.thread_time() - start, time.process_time() - start_all
    return own / CALLS * 1e6, (together - own) / CALLS * 1e6


def added(rounds: int, meter: Callable[..., ASGIApp]) -> dict[str, Any]:
    """Return microseconds a request for every variant, and what it adds to its base."""
    of_header = from_trusted_header(WHO)
    plain, recording = starlette(_plain), starlette(_recording)
    telling = starlette(_with_properties)
    variants: dict[str, tuple[ASGIApp, str | None]] = {
        "raw app": (raw, None),
        "raw app, empty middleware": (PassThrough(raw), "raw app"),
        "raw app, metered": (meter(raw), "raw app"),
        "Starlette": (plain, None),
        "Starlette, metered": (meter(plain), "Starlette"),
        "Starlette, metered, a header and a quantity": (
            meter(starlette(_counting), subject=of_header),
            "Starlette",
        ),
        "Starlette, metered, two calls of record": (meter(recording), "Starlette"),
        "the same with three properties": (meter(telling), "Starlette"),
    }
    own: dict[str, list[float]] = {name: [] for name in variants}
    others: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for i in range(rounds + WARM_UP_ROUNDS):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            us, others_us = copy_context().run(_round_us, variants[name][0])
            if i >= WARM_UP_ROUNDS:
                own[name].append(us)
                others[name].append(others_us)
    results: dict[str, Any] = {}
    for name, (_, base) in variants.items():
        results[name] = _summary(own[name])
        if base is not None:
            pairs = zip(own[name], own[base], strict=True)
            results[name]["added"] = _summary([ours - bare for ours, bare in pairs])
            results[name]["shipping"] = _summary(others[name])
    return results


def _summary(values: list[float]) -> dict[str, float]:
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
    }


def latency(rounds: int, apps: dict[str, ASGIApp]) -> dict[str, Any]:
    """Return p50, p99 and p99.9 of single requests in microseconds, for each app."""
    taken: dict[str, list[int]] = {name: [] for name in apps}
    names = list(apps)
    for i in range(rounds + WARM_UP_ROUNDS):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            app = apps[name]
            clock = time.perf_counter_ns
            ns: list[int] = []
            scopes = _scopes()
            gc.collect()
            for scope in scopes:
                start = clock()
                _call(app, scope)
                ns.append(clock() - start)
            if i >= WARM_UP_ROUNDS:
                taken[name] += ns
    return {name: _percentiles(values) for name, values in taken.items()}


def event_bytes() -> dict[str, int]:
    """Return how long the events of the recording apps are in a spool, on the wire."""
    found: dict[str, int] = {}
    for name, endpoint in (("none", _recording), ("three", _with_properties)):
        middleware = MeterMiddleware(starlette(endpoint), disabled=True)
        seen: list[bytes] = []
        middleware.meter.append = seen.append
        _call(middleware, _scopes()[0])
        found[name] = RECORD_HEADER.size + len(seen[0])
    return found


def _percentiles(ns: list[int]) -> dict[str, float]:
    ordered = sorted(ns)
    return {
        f"p{percent:g}": ordered[int(len(ordered) * percent / 100)] / 1000
        for percent in (50, 99, 99.9)
    }


@contextlib.contextmanager
def sidecars() -> Generator[dict[str, Path]]:
    """Yield a socket whose sidecar runs, one whose is stopped, one without any."""
    with contextlib.ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in "rsa"
        ]
        running, stopped, absent = folders
        stack.enter_context(SidecarProcess(running))
        frozen = stack.enter_context(SidecarProcess(stopped))
        os.kill(frozen.pid, signal.SIGSTOP)
        stack.callback(os.kill, frozen.pid, signal.SIGCONT)
        yield {"running": running, "stopped": stopped, "absent": absent}


def main() -> None:
    """Run both parts and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with sidecars() as folders, contextlib.ExitStack() as stack:

        def meter(
            folder: Path, app: ASGIApp, *, subject: Resolver | None = None
        ) -> ASGIApp:
            middleware = MeterMiddleware(
                app,
                subject=subject,
                socket=folder / "meterline.sock",
                spool_dir=folder / "spool",
            )
            stack.callback(middleware.meter.close, timeout_s=5)
            return middleware

        one = added(options.rounds, partial(meter, folders["running"]))
        plain = starlette(_plain)
        apps: dict[str, ASGIApp] = {"bare app": plain}
        apps |= {
            f"sidecar {name}": meter(folder, plain) for name, folder in folders.items()
        }
        other = latency(options.rounds, apps)
    sizes = event_bytes()
    if options.json:
        results = {"added_us": one, "event_bytes": sizes, "latency_us": other}
        sys.stdout.write(json.dumps(results) + "\n")
        return
    heading(__doc__)
    sys.stdout.write(f"{'CPU us a request, median of rounds':<44}")
    sys.stdout.write("   total   added  range            shipping   goal\n")
    for name, result in one.items():
        line = f"{name:<44}{result['median']:>8.2f}"
        if "added" in result:
            extra = result["added"]
            line += f"{extra['median']:>8.2f}"
            line += f"  {extra['min']:5.2f} to {extra['max']:5.2f}"
            line += f"{result['shipping']['median']:>12.2f}"
            line += f"{GOALS_US[name]:>7.1f}" if name in GOALS_US else ""
        sys.stdout.write(line + "\n")
    sys.stdout.write("\nbytes of such an event in the spool and on the wire\n")
    for name, n_bytes in sizes.items():
        sys.stdout.write(f"{f'with {name} of the properties':<44}{n_bytes:>8}\n")
    sys.stdout.write(f"\n{'us, single requests to Starlette':<44}")
    sys.stdout.write(f"{'p50':>8}{'p99':>8}{'p99.9':>9}\n")
    for name, result in other.items():
        sys.stdout.write(
            f"{name:<44}{result['p50']:>8.1f}{result['p99']:>8.1f}{result['p99.9']:>9.1f}\n"
        )


if __name__ == "__main__":
    main()
