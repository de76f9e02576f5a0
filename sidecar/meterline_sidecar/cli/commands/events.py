"""``meterline events``: the raw events behind the usage."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import (
    AFTER,
    daemon_options,
    event_filters,
    span_options,
)
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.clock import DAY_MS, format_time_ms
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.archive import EdgeFiled, left_for
from meterline_sidecar.web.answers.edge_events import EdgeEvent, EdgeEventPage, Untold
from meterline_sidecar.web.answers.events import EventPage, ShownEvent
from meterline_sidecar.web.answers.status import Status

PAGE_EVENTS: Final = 1_000


@click.command()
@event_filters
@span_options
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    default=100,
    show_default=True,
    help="Show at most this many.",
)
@click.option(
    "--after",
    type=AFTER,
    metavar="ID",
    default=0,
    help="Continue after this id: `next_after` of --json.",
)
@click.option(
    "--at-edges",
    is_flag=True,
    help="At a centre: show the events of edges that forward usage, from the files"
    " that they wrote, and from the edges themselves if they are in no file yet.",
)
@click.option(
    "--edge", metavar="EDGE", help="With --at-edges: only those of this edge."
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    limit: int,
    after: int,
    at_edges: bool,
    edge: str | None,
    **filters: str | None,
) -> None:
    """Show the raw events behind the usage.

    In the order in which the sidecar learned of them; events of edges, edge by edge.
    """
    if at_edges:
        if filters.pop("where") is not None:
            raise click.UsageError("--where cannot be combined with --at-edges")
        with Client.find(url, config_path) as client:
            _at_edges(client, after, limit, is_json=is_json, edge=edge, **filters)
        return
    if edge is not None:
        raise click.UsageError("--edge goes with --at-edges")
    events: list[ShownEvent] = []
    at: int | None = after
    archived: tuple[str, ...] = ()
    edges: tuple[EdgeFiled, ...] = ()
    with Client.find(url, config_path) as client:
        # A page may be empty and name a next one all the same.
        while at is not None and len(events) < limit:
            page = client.get(
                "/v1/events",
                EventPage,
                after=at,
                limit=min(PAGE_EVENTS, limit - len(events)),
                **filters,
            )
            events += page.events
            at, archived, edges = page.next_after, page.archived, page.edges
    if is_json:
        page = EventPage(events=events, next_after=at, archived=archived, edges=edges)
        show_json(page)
        return
    if events:
        show(events_table(events))
    else:
        click.echo(f"none after event {after}" if after else "no such event")
    if archived:
        click.echo(f"\n{left_for(archived)}")
    tell_filed(edges)
    if at is not None:
        click.echo(f"\nthere are more: --after {at}, or a larger --limit")


def _at_edges(
    client: Client,
    after: int,
    limit: int,
    *,
    is_json: bool,
    **filters: str | None,
) -> None:
    """Show what edges have, in files and besides."""
    events: list[EdgeEvent] = []
    at: int | None = after
    edges: tuple[EdgeFiled, ...] = ()
    untold: tuple[Untold, ...] = ()
    while at is not None and len(events) < limit:
        page = client.get(
            "/v1/edge-events",
            EdgeEventPage,
            after=at,
            limit=min(PAGE_EVENTS, limit - len(events)),
            **filters,
        )
        events += page.events
        at, edges = page.next_after, page.edges
        untold += page.untold
    if is_json:
        show_json(
            EdgeEventPage(
                events=tuple(events), next_after=at, edges=edges, untold=untold
            )
        )
        return
    show(events_table(list(events)))
    tell_untold(untold)
    if at is not None:
        click.echo(f"\nthere are more: --after {at}, or a larger --limit")


def tell_untold(untold: Sequence[Untold], *, err: bool = False) -> None:
    """Say of which edges not all is among the events."""
    for one in untold:
        if one.is_filed:
            text = f"what it has in files is listed up to one only: {one.why}"
        else:
            text = (
                f"what it has in no file is not listed, as {one.why}: `meterline events`"
                " on its host"
            )
        click.echo(f"edge {one.edge}: {text}", err=err)


def tell_filed(edges: Sequence[EdgeFiled], *, err: bool = False) -> None:
    """Say where raw events of edges are that forward usage."""
    for one in edges:
        text = f"edge {one.edge}: "
        if one.files:
            text += (
                f"{n_of(len(one.files), 'file')} of this time, {', '.join(one.files)}; "
            )
        if one.filed_to is None:
            text += "none of its raw events is in a file that is known here"
        else:
            text += f"what it stored after {one.filed_to} is in none"
        click.echo(f"{text}; `meterline events --at-edges` asks for it", err=err)


def any_time(status: Status) -> dict[str, str]:
    """Return the span of everything that was ever stored, or will be for a year."""
    end_ms = status.now_ms + 365 * DAY_MS
    return {"start": format_time_ms(0), "end": format_time_ms(end_ms)}


def events_table(events: list[ShownEvent]) -> Table:
    """Return raw events as people read them."""
    table = Table(
        ">id",
        "time",
        "subject",
        "customer",
        "request",
        ">status",
        ">us",
        "quantities",
        "properties",
    )
    for event in events:
        table.add(*_cells(event))
    return table


def event_line(event: ShownEvent) -> str:
    """Return one raw event as people read it."""
    return "  ".join(filter(None, _cells(event)))


def _cells(event: ShownEvent) -> list[str]:
    request = " ".join(filter(None, (event.method, event.route)))
    used = [f"{name}={quantity(Decimal(n))}" for name, n in event.quantities.items()]
    if event.usage is not None:
        used += [f"{name}={quantity(n)}" for name, n in event.usage.totals.items()]
        used += [f"{name}: {n} values" for name, n in event.usage.distinct.items()]
        used.append(
            f"({event.usage.events} events at edge {event.edge or 'of this host'})"
        )
    if event.doubt:
        used.append(f"({event.doubt})")
    if isinstance(event, EdgeEvent) and event.file is None:
        used.append(f"(in no file of edge {event.edge} yet)")
    if event.source is not None:
        used.append(f"({event.source} {event.external_id})")
    told = [f"{name}={text}" for name, text in event.properties.items()]
    for part in event.parts:
        own = ", ".join(f"{name}={text}" for name, text in part.properties.items())
        told.append(f"{part.quantity} {quantity(Decimal(part.amount))} ({own})")
    return [
        str(event.id),
        event.time,
        event.subject or "-",
        event.customer or "-",
        request or event.kind,
        str(event.status or ""),
        quantity(event.duration_us),
        ", ".join(used),
        ", ".join(told),
    ]
