"""What a centre spends as requests grow, and its customers do not: a plot, and its rows.

So many edges of one process, each with its ledger and its forwarder, are sent events of the
same customers at one rate, and then at two, five and ten times that, once with ``forward =
"usage"`` and once with ``"events"``. The centre is a process of its own; what is measured is its
CPU time, which holds on a busy machine. ``--write`` puts both into docs/scaling.md.

Expected from arithmetic: an edge rolls up every 2 s, and sends a state of each place (a
subject, a window, a group) in which anything happened. At the lowest rate each place is
busy in every 2 s already, so that usage costs the same at all rates, and events grow with
them: 10 us each, above what edges cost that say nothing.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks.fleet import METERLINE
from benchmarks.fleet_plot import draw
from benchmarks.fleet_states import counted
from benchmarks.harness import cpu_s, tell
from tests.clock import FakeClock
from tests.fleet import Fleet
from tests.integration.fleet.conftest import Host, World
from tests.producer import Connection, batch, event
from tests.sidecar_process import until

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "scaling.md"
PICTURE: Final = ROOT / "docs" / "pictures" / "fleet-load.svg"
BEGIN: Final = (
    "<!-- fleet load: written by `python -m benchmarks.fleet_load --write` -->"
)
END: Final = "<!-- the end of fleet load -->"
TIMES: Final = (1, 2, 5, 10)
CUSTOMERS: Final = 2  # of each edge
TICK_S: Final = 1.0  # a batch of each edge, however many events are in it


class _RealClock(FakeClock):
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Measured(Struct, frozen=True):
    """What was measured at one rate."""

    kind: str
    times: int
    cpu_ms: float
    """Of the centre, in a second."""
    per_s: float
    """Requests that came to all edges, in a second."""


async def _send(
    edge: Host, i: int, rate: "Synchronized[float]", is_over: Event
) -> None:
    """Send events of an edge's customers, in turn, at the rate of the moment, until it is over."""
    first = itertools.count()
    n_sent, due_s = 0, time.monotonic()
    async with Connection(edge.parts.config.sidecar.socket) as app:
        await app.hello(f"{i + 1:032x}")
        while not is_over.is_set():
            at_ms = time.time_ns() // 1_000_000
            each = max(1, round(rate.value * TICK_S))
            events = [
                event(time_ms=at_ms, subject=f"acct_{i}_{next(first) % CUSTOMERS}")
                for _ in range(each)
            ]
            await app.ship(batch(*events, first_seq=n_sent + 1))
            n_sent += each
            due_s += TICK_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))


def _edges(
    folder: Path,
    port: int,
    *,
    n: int,
    rate: "Synchronized[float]",
    keys: str,
    is_over: Event,
) -> None:
    """Run edges, until it is over."""

    async def run() -> None:
        (folder / "edges").mkdir()
        for name in ("centre.pem", "token"):
            (folder / "edges" / name).write_bytes((folder / name).read_bytes())
        world = World(folder / "edges", clock=_RealClock())
        (folder / "edges" / "centre.pem").write_bytes(
            (folder / "centre.pem").read_bytes()
        )
        async with AsyncExitStack() as stack:
            hosts = [
                await stack.enter_async_context(
                    world.edge(f"e{i}", port=port, keys=keys)
                )
                for i in range(n)
            ]
            await asyncio.gather(
                *(_send(host, i, rate, is_over) for i, host in enumerate(hosts))
            )

    asyncio.run(run())


def measure(kind: str, *, n_edges: int, rate: int, span_s: float) -> list[Measured]:
    """Return what a centre spends at a rate and at so many times that, one after the other."""
    keys = 'forward = "usage"\n' if kind == "usage" else ""
    is_over = multiprocessing.Event()
    of_an_edge = multiprocessing.Value("d", rate / n_edges)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as name:
        fleet = Fleet(Path(name), meterline=METERLINE, pricing="")
        fleet.centre.start()
        edges = multiprocessing.Process(
            target=_edges,
            args=(Path(name), fleet.port),
            kwargs={"n": n_edges, "rate": of_an_edge, "keys": keys, "is_over": is_over},
        )
        edges.start()
        for times in TIMES:
            of_an_edge.value = rate * times / n_edges
            steady = counted(fleet.centre) + 5 * rate * times
            until(lambda n=steady: counted(fleet.centre) > n, timeout_s=600)  # type: ignore[misc]
            before, began_s, n_before = (
                cpu_s(fleet.centre.pid),
                time.perf_counter(),
                counted(fleet.centre),
            )
            time.sleep(span_s)
            spent = cpu_s(fleet.centre.pid) - before
            took_s = time.perf_counter() - began_s
            n_more = counted(fleet.centre) - n_before
            found.append(Measured(kind, times, spent / took_s * 1_000, n_more / took_s))
        is_over.set()
        edges.join()
        fleet.__exit__()
    return found


def page(found: list[Measured], *, n_edges: int, rate: int, span_s: float) -> str:
    """Return what the page says of it."""
    lines = [
        f"![The centre's CPU time by requests](pictures/{PICTURE.name})",
        "",
        f"| requests a second, of {n_edges} edges with {CUSTOMERS} customers each |"
        ' the centre\'s CPU time of a second, `forward = "usage"` | `"events"` |',
        "|---|---|---|",
    ]
    for times in TIMES:
        cells = [
            f"{one.cpu_ms:.0f} ms ({one.per_s:,.0f} came)"
            for one in sorted(found, key=lambda one: one.kind, reverse=True)
            if one.times == times
        ]
        lines.append(f"| {rate * times:,} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores, load average"
        f" {os.getloadavg()[0]:.0f}, {span_s:.0f} s of each: CPU time of the process, ledger in"
        " a file. Repeat it with `python -m benchmarks.fleet_load --write`.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=100)
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--span", type=float, default=20.0, help="seconds of each")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    given = parser.parse_args()
    rounds = [
        one
        for _ in range(given.rounds)
        for kind in ("usage", "events")
        for one in measure(
            kind, n_edges=given.edges, rate=given.rate, span_s=given.span
        )
    ]
    found = [
        Measured(
            kind,
            times,
            statistics.median(
                one.cpu_ms for one in rounds if (one.kind, one.times) == (kind, times)
            ),
            statistics.median(
                one.per_s for one in rounds if (one.kind, one.times) == (kind, times)
            ),
        )
        for kind in ("usage", "events")
        for times in TIMES
    ]
    if given.write:
        text = PAGE.read_text()
        before, after = text.partition(BEGIN)[0], text.partition(END)[2]
        middle = page(found, n_edges=given.edges, rate=given.rate, span_s=given.span)
        PAGE.write_text(f"{before}{BEGIN}\n\n{middle}\n\n{END}{after}")
        lines = {
            kind: [(one.per_s, one.cpu_ms) for one in found if one.kind == kind]
            for kind in ("usage", "events")
        }
        PICTURE.write_text(draw(lines, rates=[given.rate * one for one in TIMES]))
    tell(
        __doc__,
        {
            f"{one.kind}, {given.rate * one.times:,}/s ({one.per_s:,.0f} came): ms of"
            " CPU/s": one.cpu_ms
            for one in found
        },
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
