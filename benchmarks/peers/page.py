"""The table of peers, as a part of docs/benchmarks.md."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks.peers.measured import KILLED_AFTER, Rate
from benchmarks.peers.picture import Bar, draw
from benchmarks.peers.place import ROOT, version_of

PAGE: Final = ROOT / "docs" / "benchmarks.md"
PICTURE: Final = ROOT / "docs" / "pictures" / "peers.svg"
BEGIN: Final = "<!-- peers: written by `make bench-peers` -->"
END: Final = "<!-- the end of peers -->"
EMPTY: Final = f"# Benchmarks\n\n{BEGIN}\n{END}\n"
BARE: Final = "bare"
OURS: Final = "meterline"


class Peer(Struct, frozen=True):
    """How a peer is called, and what it is for."""

    title: str
    package: str | None
    does: str
    """What it does that Meterline does not, or what it is."""


PEERS: Final = {
    BARE: Peer("the bare app", "fastapi", "nothing"),
    OURS: Peer("Meterline", None, "each request once, by customer, on disk"),
    "prometheus": Peer(
        "prometheus-fastapi-instrumentator",
        "prometheus-fastapi-instrumentator",
        "histograms of latency and size for a Prometheus server; counters live in the"
        " process, by route and not by customer",
    ),
    "starlette_exporter": Peer(
        "starlette-exporter",
        "starlette-exporter",
        "the same, with labels from headers and cookies",
    ),
    "apitally": Peer(
        "Apitally",
        "apitally",
        "a hosted service: request logs, traces, alerts, uptime checks; it spools to disk",
    ),
    "opentelemetry": Peer(
        "OpenTelemetry",
        "opentelemetry-instrumentation-fastapi",
        "a trace of each request, across services and languages, for any backend",
    ),
    "moesif": Peer(
        "Moesif",
        "moesifasgi",
        "a hosted service: whole requests and responses with their bodies, governance rules,"
        " billing from its own counts",
    ),
    "row": Peer(
        "a row a request, SQLite",
        None,
        "a common home-made solution: a commit before each answer",
    ),
    "stripe": Peer(
        "a call of Stripe a request",
        "stripe",
        "no sidecar and no ledger, only Stripe's meter",
    ),
}


class Figures(Struct, frozen=True):
    """What was measured of all, round by round."""

    in_process_us: Mapping[str, Sequence[float]]
    served: Mapping[str, Sequence[Rate]]
    undisturbed: Mapping[str, int]
    """How many of 1,000 requests are known where nothing happens."""
    delivered: Mapping[str, int]
    """How many are known after ``kill -9``."""


def table(figures: Figures) -> str:
    """Return the table, as Markdown."""
    lines = [
        "| | version | CPU added to a request, in process, us | throughput, bare app = 1"
        " | CPU of the server a request, us | of 1,000 known, undisturbed | after `kill -9` |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, peer in PEERS.items():
        added = _added(figures, name)
        shares = _shares(figures, name)
        cpu = [rate.cpu_us for rate in figures.served[name]]
        known = " | "
        if name != BARE:
            known = f"{figures.undisturbed[name]:,} | {figures.delivered[name]:,}"
        version = version_of(peer.package) if peer.package else ""
        lines.append(
            f"| {peer.title} | {version} | {'' if name == BARE else _spread(added, 0)} |"
            f" {_spread(shares, 2)} | {_spread(cpu, 0)} | {known} |"
        )
    return "\n".join(lines)


def write(figures: Figures, *, machine: str, command: str, load: str) -> None:
    """Write the picture, and the part of the page."""
    bars = [
        Bar(
            peer.title,
            statistics.median(_shares(figures, name)),
            figures.delivered[name],
            name == OURS,
        )
        for name, peer in PEERS.items()
        if name != BARE
    ]
    title = "Throughput of an app, and what is known after kill -9, by what measures it"
    PICTURE.write_text(draw(bars, requests=KILLED_AFTER, title=title), "utf-8")
    does = [
        f"| {peer.title} | {peer.does} |"
        for name, peer in PEERS.items()
        if name not in (BARE, OURS)
    ]
    part = TEXT.format(
        table=table(figures),
        does="\n".join(does),
        machine=machine,
        command=command,
        load=load,
        rounds=len(figures.served[BARE]),
        picture=PICTURE.relative_to(PAGE.parent),
    )
    _put(PAGE, part)


def _put(page: Path, part: str) -> None:
    """Put the part between its marks; the rest of the page stays."""
    text = page.read_text("utf-8") if page.exists() else EMPTY
    if BEGIN not in text:
        text += f"\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{part}{END}{after}", "utf-8")


def _added(figures: Figures, name: str) -> list[float]:
    pairs = zip(figures.in_process_us[name], figures.in_process_us[BARE], strict=True)
    return [us - bare_us for us, bare_us in pairs]


def _shares(figures: Figures, name: str) -> list[float]:
    pairs = zip(figures.served[name], figures.served[BARE], strict=True)
    return [one.requests_per_s / bare.requests_per_s for one, bare in pairs]


def _spread(values: Sequence[float], digits: int) -> str:
    middle = statistics.median(values)
    return (
        f"{middle:,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
    )


TEXT: Final = """
## Compared with others that measure requests

![Throughput, and what is known after kill -9]({picture})

{table}

Medians and ranges; rounds: {rounds}. *In process*: calls of the app without a server, each peer in its own process; the CPU time
of all threads minus the bare app's in the same round. *Throughput*: one uvicorn (uvloop, httptools) on the same cores as {load} with 16 connections
and everything else that is needed: Meterline's sidecar, or a loopback server that takes what the others send.
*Known after `kill -9`*: the worker is killed after 1,000 requests and started again, as a supervisor would do. 20 seconds later we
count what is in the ledger, at the receiver, in the table, or in a scrape. (Requests that an earlier scrape had fetched, usually every
15 seconds, would be known.) *Undisturbed* is the same without the kill. Tools that send every few seconds, such as OpenTelemetry,
Moesif and Apitally, lose what they had not sent yet, more or less depending on the moment of the kill.

{machine}. Repeat it with `{command}`.

Each is set up as its own documentation says, without options that make it faster or slower; see `benchmarks/peers/apps.py`, and
`requirements.txt` next to it for the versions. The app is FastAPI with 20 routes, one of which returns a small JSON document.
These tools do other things than Meterline:

| | what it does |
|---|---|
{does}
"""
