"""``meterline audit``: who changed what money stands on, when and why."""

from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.names import check_customer
from meterline_sidecar.cli.options import AFTER, daemon_options, limit_option
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.web.answers.audit import AuditPage

WHAT_CHARS: Final = 100  # a customer may have very many subjects: --json has them


@click.command()
@click.option(
    "--customer",
    metavar="ID",
    help="Only what was decided about this customer: terms, invoices, credit notes,"
    " payments and credits.",
)
@limit_option("entries", default=50)
@click.option(
    "--after",
    type=AFTER,
    metavar="LINK",
    help="Continue after this link, with older entries.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str | None,
    limit: int,
    after: int | None,
) -> None:
    """Show who changed what affects money, the newest first.

    Terms of customers, plans and meters, final invoices, credits, held events, imports:
    each with its author and reason, in the order of the ledger's chain.
    """
    with Client.find(url, config_path) as client:
        page = client.get(
            "/v1/audit", AuditPage, customer=customer, limit=limit, after=after
        )
        if not page.acts and after is None:
            check_customer(client, customer)
    if is_json:
        show_json(page)
        return
    if not page.acts and page.next_after is None:
        of = "" if customer is None else f" about {customer}"
        none = f"nothing was decided{of} yet"
        click.echo(none if after is None else "nothing is older")
        return
    table = Table(">link", "when", "who", "about", "what", "why")
    for act in page.acts:
        table.add(
            *(str(act.link), act.at, act.author, act.about),
            act.what if len(act.what) <= WHAT_CHARS else f"{act.what[:WHAT_CHARS]}...",
            act.reason or "-",
        )
    if page.acts:
        show(table)
    if page.next_after is not None:
        click.echo(f"\nmore: --after {page.next_after}")
