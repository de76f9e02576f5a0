"""``meterline status``: is it working, in one screen."""

from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import quantity, show_json, tell_problems
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.clock import ago, lasting
from meterline_sidecar.web.answers.edges import ShownLeader
from meterline_sidecar.web.answers.status import ProducerStatus, Status

SECOND_MS: Final = 1_000
MIB: Final = 1 << 20


@click.command()
@daemon_options
def command(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """Show what was counted, what is under way, and what is wrong."""
    with Client.find(url, config_path) as client:
        status = client.get("/status", Status)
    if is_json:
        show_json(status)
        return
    tell_status(status, at=client.url)


def tell_status(status: Status, *, at: str) -> None:
    """Print a status for people."""
    up = lasting(status.now_ms - status.started_ms)
    state = "ready" if status.ready else "NOT READY"
    click.echo(f"Meterline {status.version} at {at}: {state}, up for {up}")
    if status.leader is not None:
        click.echo(_leader(status.leader, status.now_ms))
    tell_problems(status.problems)
    if not status.to_do:
        click.echo("nothing is wrong")
    click.echo()
    show(_counts(status))
    if status.producers.shown:
        click.echo()
        show(_producers(status))


def _leader(leader: ShownLeader, now_ms: int) -> str:
    """Return in words which of several centres leads."""
    since = f"election {leader.election}, {ago(leader.since_ms, now_ms)}"
    if leader.is_here:
        return f"this centre leads ({since})"
    who = f"{leader.name} leads" if leader.name else "no centre leads at the moment"
    return f"this centre follows: {who} ({since})"


def _counts(status: Status) -> Table:
    table = Table("what", ">count", "meaning")
    events = status.events
    for name, count, meaning in (
        ("recorded", events.recorded, "recorded by the apps"),
        ("ingested", events.ingested, "stored, each exactly once"),
        ("in flight", events.in_flight, "recorded and on their way"),
        ("lost", events.lost, "recorded, then lost for good"),
        ("duplicates", events.duplicates, "sent twice, stored once"),
        ("unattributed", events.unattributed, "stored without a subject"),
        ("held", events.held, "stored, and kept out of billing for their time"),
        ("incomplete", events.bad_quantities, "stored without a quantity or property"),
    ):
        table.add(f"events {name}", quantity(count), meaning)
    if events.excluded:
        meaning = "left out on purpose by the apps, since the start"
        table.add("requests excluded", quantity(events.excluded), meaning)
    for name, count, meaning in (
        ("accepted", status.external.accepted, "stored, since the start"),
        ("duplicate", status.external.duplicate, "sent again, stored once"),
        (
            "conflict",
            status.external.conflict,
            "with an id of another event; not stored",
        ),
        ("refused", status.external.refused, "not valid; not stored"),
    ):
        if count:
            table.add(f"events over HTTP {name}", quantity(count), meaning)
    behind = status.aggregation.behind_events
    table.add("events not added up", quantity(behind), "stored, not in usage yet")
    if (at := status.forwarding) is not None:
        meaning = f"centre {at.centre}, last answer {ago(at.acked_ms, status.now_ms)}"
        table.add("batches that wait here", quantity(at.behind), meaning)
        if at.filed is not None:
            table.add("in files", at.filed[:16], "all that was stored up to then")
    for state, n_rows in status.outbox.items():
        if n_rows or state == "pending":
            table.add(f"outbox {state}", quantity(n_rows), "rows for Stripe")
    compared = status.reconciliation
    if compared.age_s is not None:
        age = lasting(compared.age_s * SECOND_MS)
        meaning = f"customers and meters, when Stripe was asked {age} ago"
        table.add("differ at Stripe", quantity(compared.different), meaning)
    if compared.invoices_checked is not None:
        meaning = f"final invoices, last compared {compared.invoices_checked[:16]}"
        found = quantity(compared.invoices_different)
        table.add("invoices that differ at Stripe", found, meaning)
    file = status.database
    table.add("database MiB", quantity(file.bytes // MIB), file.path)
    free = quantity(file.disk_free_bytes // MIB)
    table.add("disk free MiB", free, "on the database's disk")
    return table


def _producers(status: Status) -> Table:
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
    for producer in status.producers.shown:
        table.add(
            producer.app,
            producer.host,
            str(producer.pid),
            quantity(producer.recorded),
            quantity(producer.ingested),
            quantity(producer.lost),
            quantity(producer.gap),
            ago(producer.seen_ms, status.now_ms),
            _state(producer),
        )
    return table


def _state(producer: ProducerStatus) -> str:
    if producer.is_connected:
        return "connected"
    if producer.is_open and producer.edge is not None:
        return f"at edge {producer.edge}"
    return "disappeared" if producer.is_open else "ended"
