"""``meterline edges``: the other hosts that send their events to this ledger."""

from pathlib import Path
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options, reason_option
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.web.answers.edges import EdgeList


@click.group()
def command() -> None:
    """List the edges of a centre; adopt or retire one.

    An edge is a sidecar on another host that forwards its events, or their usage, to
    this one.
    """


@command.command("list")
@daemon_options
def list_edges(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """List all edges and their states.

    "complete to" is the time before which all of an edge's events are here; no period
    that ends later is closed, unless the edge is retired or its gap is accepted. "in
    files to" is the time up to which its raw events are also in files of the archive.
    "lost" is how many events of its workers were lost or refused.
    """
    with Client.find(url, config_path) as client:
        found = client.get("/v1/edges", EdgeList)
    _tell(found, is_json=is_json)


@command.command()
@click.argument("edge")
@reason_option()
@daemon_options
def adopt(
    config_path: Path | None, url: str | None, is_json: bool, edge: str, reason: str
) -> None:
    """Accept the ledger that now connects as EDGE.

    For an edge that is refused because an old backup was restored on its host, or that
    was retired and comes back. It sends everything in its ledger; what is already here
    does not count again.
    """
    _decide(url, config_path, f"{edge}/adopt", reason, is_json=is_json)


@command.command()
@click.argument("edge")
@reason_option()
@daemon_options
def retire(
    config_path: Path | None, url: str | None, is_json: bool, edge: str, reason: str
) -> None:
    """Record that EDGE will not come back.

    It no longer holds up any period, and is refused if it connects. What it had not
    sent is given up.
    """
    _decide(url, config_path, f"{edge}/retire", reason, is_json=is_json)


def _decide(
    url: str | None, config_path: Path | None, what: str, reason: str, *, is_json: bool
) -> None:
    name, _, verb = what.rpartition("/")
    with Client.find(url, config_path) as client:
        path = f"/v1/edges/{quote(name, safe='')}/{verb}"
        found = client.post(path, EdgeList, reason=reason)
    _tell(found, is_json=is_json)


def _tell(found: EdgeList, *, is_json: bool) -> None:
    if is_json:
        show_json(found)
        return
    if not found.edges:
        click.echo("no edge has connected yet; docs/fleet.md says how to set one up")
        return
    table = Table(
        *("edge", "id", "sends", "state", "last seen", "complete to", "in files to"),
        *(">behind", ">lost", ""),
    )
    for one in found.edges:
        again = ("counts by newer meters",) if one.counts_again else ()
        table.add(
            one.name,
            one.edge[:8],
            one.forward,
            one.state,
            one.seen,
            one.low or "-",
            one.filed or "-",
            quantity(one.behind),
            quantity(one.lost),
            one.trouble or ", ".join((*again, *one.missing)),
        )
    show(table)
