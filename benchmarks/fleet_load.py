"""What a centre spends as requests grow, and as edges do: plots, and their rows.

So many edges of one process, each with its ledger and its forwarder, are sent events of the
same customers at one rate, and then at two, five and ten times that, once with ``forward =
"usage"`` and once with ``"events"``. The centre is a process of its own; what is measured is its
CPU time, which holds on a busy machine. With ``--vary``, ten, thirty and a hundred edges are sent
the same requests, all together, of as many customers. ``--write`` puts it into docs/scaling.md.

Expected from arithmetic: an edge rolls up every 2 s, and sends a state of each place (a
subject, a window, a group) in which anything happened. At the lowest rate each place is
busy in every 2 s already, so that usage costs the same at all rates, and events grow with
them: 10 us each, above what edges cost that say nothing. At one rate it follows edges: each
says every 2 s how it stands, and sends frames and waits for commits of its own.
"""

import argparse
import asyncio
import itertools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
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
PICTURE_OF_EDGES: Final = PICTURE.with_name("fleet-edges.svg")
BEGIN: Final = (
    "<!-- fleet load: written by `python -m benchmarks.fleet_load --write` -->"
)
END: Final = "<!-- the end of fleet load -->"
BEGIN_OF_EDGES: Final = (
    "<!-- fleet edges: written by `python -m benchmarks.fleet_load --vary --write` -->"
)
END_OF_EDGES: Final = "<!-- the end of fleet edges -->"
KINDS: Final = ("usage", "events")
TIMES: Final = (1, 2, 5, 10)
EDGES: Final = (10, 30, 100)
CUSTOMERS: Final = 2  # of each edge
CUSTOMERS_OF_ALL: Final = 300  # where edges vary: of all of them together
TICK_S: Final = 1.0  # a batch of each edge, however many events are in it


class _RealClock(FakeClock):
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000


class Measured(Struct, frozen=True):
    """What was measured at one rate."""

    kind: str
    edges: int
    times: int
    cpu_ms: float
    """Of the centre, in a second."""
    per_s: float
    """Requests that came to all edges, in a second."""


async def _send(
    edge: Host,
    i: int,
    rate: "Synchronized[float]",
    is_over: Event,
    *,
    n_customers: int,
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
                event(time_ms=at_ms, subject=f"acct_{i}_{next(first) % n_customers}")
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
    n_customers: int,
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
                *(
                    _send(host, i, rate, is_over, n_customers=n_customers)
                    for i, host in enumerate(hosts)
                )
            )

    asyncio.run(run())


def measure(
    kind: str,
    *,
    n_edges: int,
    n_customers: int,
    rate: int,
    times: Sequence[int],
    span_s: float,
) -> list[Measured]:
    """Return what a centre spends at so many times a rate, one after the other.

    Args:
        n_customers: of each edge.
        rate: requests a second to all edges together.
    """
    keys = 'forward = "usage"\n' if kind == "usage" else ""
    is_over = multiprocessing.Event()
    of_an_edge = multiprocessing.Value("d", rate * times[0] / n_edges)
    found: list[Measured] = []
    with tempfile.TemporaryDirectory() as name:
        fleet = Fleet(Path(name), meterline=METERLINE, pricing="")
        fleet.centre.start()
        edges = multiprocessing.Process(
            target=_edges,
            args=(Path(name), fleet.port),
            kwargs={
                "n": n_edges,
                "n_customers": n_customers,
                "rate": of_an_edge,
                "keys": keys,
                "is_over": is_over,
            },
        )
        edges.start()
        for n in times:
            of_an_edge.value = rate * n / n_edges
            steady = counted(fleet.centre) + 5 * rate * n
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
            one = Measured(kind, n_edges, n, spent / took_s * 1_000, n_more / took_s)
            found.append(one)
        is_over.set()
        edges.join()
        fleet.__exit__()
    return found


def medians(rounds: list[Measured]) -> list[Measured]:
    """Return the middle of what was measured of the same."""
    of_one: dict[tuple[str, int, int], list[Measured]] = {}
    for one in rounds:
        of_one.setdefault((one.kind, one.edges, one.times), []).append(one)
    return [
        Measured(
            *of,
            statistics.median(one.cpu_ms for one in same),
            statistics.median(one.per_s for one in same),
        )
        for of, same in of_one.items()
    ]


def _cells(found: list[Measured]) -> str:
    """Return the cells of a row: usage, then events."""
    by_kind = {one.kind: one for one in found}
    return " | ".join(
        f"{by_kind[kind].cpu_ms:.0f} ms ({by_kind[kind].per_s:,.0f} came)"
        for kind in KINDS
    )


def _page(
    picture: Path, what: str, rows: Mapping[int, str], *, span_s: float, command: str
) -> str:
    """Return what the page says of it."""
    lines = [
        f"![The centre's CPU time by {what.partition(',')[0]}](pictures/{picture.name})",
        "",
        f'| {what} | the centre\'s CPU time of a second, `forward = "usage"` | `"events"` |',
        "|---|---|---|",
        *(f"| {n:,} | {cells} |" for n, cells in rows.items()),
        "",
        f"{time.strftime('%Y-%m-%d', time.gmtime())}, {os.cpu_count()} cores, load average"
        f" {os.getloadavg()[0]:.0f}, {span_s:.0f} s of each: CPU time of the process, ledger in"
        f" a file. Repeat it with `python -m benchmarks.fleet_load {command}`.",
    ]
    return "\n".join(lines)


def _put(text: str, begin: str, end: str) -> None:
    """Write a part of the page."""
    page = PAGE.read_text()
    before, after = page.partition(begin)[0], page.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def write_rates(
    found: list[Measured], *, n_edges: int, rate: int, span_s: float
) -> None:
    """Write what it is by requests."""
    what = f"requests a second, of {n_edges} edges with {CUSTOMERS} customers each"
    rows = {
        rate * times: _cells([one for one in found if one.times == times])
        for times in TIMES
    }
    page = _page(PICTURE, what, rows, span_s=span_s, command="--write")
    _put(page, BEGIN, END)
    lines = {
        kind: [(one.per_s, one.cpu_ms) for one in found if one.kind == kind]
        for kind in KINDS
    }
    PICTURE.write_text(
        draw(
            lines,
            marks=list(rows),
            title="The centre's CPU time by requests, of the same customers",
            along="requests a second",
        )
    )


def write_edges(found: list[Measured], *, rate: int, span_s: float) -> None:
    """Write what it is by edges."""
    what = f"edges, with {rate:,} requests a second of {CUSTOMERS_OF_ALL} customers together"
    rows = {n: _cells([one for one in found if one.edges == n]) for n in EDGES}
    page = _page(PICTURE_OF_EDGES, what, rows, span_s=span_s, command="--vary --write")
    _put(page, BEGIN_OF_EDGES, END_OF_EDGES)
    lines = {
        kind: [(float(one.edges), one.cpu_ms) for one in found if one.kind == kind]
        for kind in KINDS
    }
    PICTURE_OF_EDGES.write_text(
        draw(
            lines,
            marks=EDGES,
            title="The centre's CPU time by edges, at the same requests",
            along="edges",
        )
    )


def main() -> None:
    """Measure, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=100)
    parser.add_argument("--rate", type=int, default=200, help="requests a second")
    parser.add_argument("--span", type=float, default=20.0, help="seconds of each")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--vary", action="store_true", help="edges, at ten times the rate"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    given = parser.parse_args()
    loads = (
        [(n, CUSTOMERS_OF_ALL // n, TIMES[-1:]) for n in EDGES]
        if given.vary
        else [(given.edges, CUSTOMERS, TIMES)]
    )
    found = medians(
        [
            one
            for _ in range(given.rounds)
            for n_edges, n_customers, times in loads
            for kind in KINDS
            for one in measure(
                kind,
                n_edges=n_edges,
                n_customers=n_customers,
                rate=given.rate,
                times=times,
                span_s=given.span,
            )
        ]
    )
    if given.write and given.vary:
        write_edges(found, rate=given.rate * TIMES[-1], span_s=given.span)
    elif given.write:
        write_rates(found, n_edges=given.edges, rate=given.rate, span_s=given.span)
    tell(
        __doc__,
        {
            f"{one.kind}, {one.edges} edges, {given.rate * one.times:,}/s"
            f" ({one.per_s:,.0f} came): ms of CPU/s": one.cpu_ms
            for one in found
        },
        as_json=given.json,
    )


if __name__ == "__main__":
    main()
