"""``meterline status``: is it working, in one screen."""

from pathlib import Path
from typing import Any, Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import Table, quantity, show, show_json

SECOND_MS: Final = 1_000
UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
NUMBERS: Final = ("recorded", "ingested", "lost", "gap")
MIB: Final = 1 << 20


@click.command()
@daemon_options
def command(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """Show what came in, what became of it, and what is wrong."""
    with Client.find(url, config_path) as client:
        status = client.get("/status")
    if is_json:
        show_json(status)
        return
    tell_status(status, at=client.url)


def tell_status(status: dict[str, Any], *, at: str) -> None:
    """Print a status for people."""
    up = _ago(status["now_ms"] - status["started_ms"])
    state = "ready" if status["ready"] else "NOT READY"
    click.echo(f"Meterline {status['version']} at {at}: {state}, up for {up}")
    for problem in status["problems"]:
        click.secho(f"! {problem}", fg="yellow")
    if not status["problems"]:
        click.echo("nothing is wrong")
    click.echo()
    show(_counts(status))
    if status["producers"]["shown"]:
        click.echo()
        show(_producers(status))


def _counts(status: dict[str, Any]) -> Table:
    table = Table("what", ">count", "meaning")
    events = status["events"]
    meanings = {
        "recorded": "counted by the apps",
        "ingested": "stored here, each once",
        "in_flight": "recorded and on their way",
        "lost": "recorded and gone for ever",
        "duplicates": "sent twice, stored once",
        "unattributed": "stored, but nobody was named",
    }
    for name, meaning in meanings.items():
        table.add(f"events {name.replace('_', ' ')}", quantity(events[name]), meaning)
    behind = status["aggregation"]["behind_events"]
    table.add("events not added up", quantity(behind), "stored, not in usage yet")
    for name, n_entries in status["outbox"].items():
        if n_entries or name == "pending":
            table.add(f"outbox {name}", quantity(n_entries), "of what Stripe is told")
    compared = status["reconciliation"]
    if compared["age_s"] is not None:
        age = _ago(compared["age_s"] * SECOND_MS)
        meaning = f"customers and meters, when Stripe was asked {age} ago"
        table.add("differ at Stripe", quantity(compared["different"]), meaning)
    size, free = (
        status["database"][key] // MIB for key in ("bytes", "disk_free_bytes")
    )
    table.add("database MiB", quantity(size), status["database"]["path"])
    table.add("disk free MiB", quantity(free), "on the database's disk")
    return table


def _producers(status: dict[str, Any]) -> Table:
    table = Table(
        "worker of",
        "host",
        ">pid",
        ">recorded",
        ">stored",
        ">lost",
        ">gap",
        "last seen",
        "",
    )
    for producer in status["producers"]["shown"]:
        table.add(
            producer["app"],
            producer["host"],
            str(producer["pid"]),
            *(quantity(producer[key]) for key in NUMBERS),
            f"{_ago(status['now_ms'] - producer['seen_ms'])} ago",
            _state(producer),
        )
    return table


def _state(producer: dict[str, Any]) -> str:
    if producer["is_connected"]:
        return "connected"
    return "gone without a goodbye" if producer["is_open"] else "ended"


def _ago(span_ms: int) -> str:
    """Return a span in its largest unit: ``3 min``."""
    seconds = max(span_ms, 0) // SECOND_MS
    size, unit = next((u for u in UNITS if seconds >= u[0]), UNITS[-1])
    return f"{seconds // size} {unit}"
