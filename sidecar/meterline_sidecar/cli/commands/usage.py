"""``meterline usage``: who used what."""

from pathlib import Path
from typing import Any

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options, span_options
from meterline_sidecar.cli.output import Table, quantity, show, show_json


@click.command()
@click.option("--customer", metavar="ID", help="Only of this customer.")
@span_options
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str | None,
    **span: str | None,
) -> None:
    """Show what every customer used of every meter, this month or in any span."""
    with Client.find(url, config_path) as client:
        answer = read_usage(client, customer=customer, **span)
    if is_json:
        show_json(answer)
        return
    tell_usage(answer)


def read_usage(
    client: Client, *, customer: str | None = None, **span: str | None
) -> dict[str, Any]:
    """Return what was used by one customer, or by all and by nobody's subjects."""
    whose = list(client.all("/v1/usage", "usage", customer=customer, **span))
    last = client.get("/v1/usage/unassigned", **span)
    return {
        "fresh_as_of": last["fresh_as_of"],
        "usage": whose,
        "unassigned": last["unassigned"] if customer is None else [],
    }


def tell_usage(answer: dict[str, Any]) -> None:
    """Print usage for people."""
    table = Table("customer", "period", "meter", ">quantity", "")
    for customer in answer["usage"]:
        span = customer["period"]["name"] or customer["period"]["start_time"]
        for meter in customer["meters"]:
            table.add(
                customer["customer"],
                span,
                meter["meter"],
                quantity(meter["quantity"]),
                meter["aggregation"],
            )
            for group in meter["groups"]:
                labels = ", ".join(group["labels"].values())
                table.add("", "", f"  {labels}", quantity(group["quantity"]), "")
    show(table)
    _tell_unassigned(answer["unassigned"])
    click.echo(f"\nas of {answer['fresh_as_of'] or 'never: nothing is added up yet'}")


def _tell_unassigned(subjects: list[dict[str, Any]]) -> None:
    if not subjects:
        return
    click.echo("\nnobody pays for:")
    table = Table("subject", "meter", ">quantity")
    for subject in subjects:
        for meter in subject["meters"]:
            name = subject["subject"] or "(no subject was named)"
            table.add(name, meter["meter"], quantity(meter["quantity"]))
    show(table)
