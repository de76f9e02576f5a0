"""``meterline reconcile``: the ledger against Stripe's own totals."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.cli.names import names_of
from meterline_sidecar.cli.options import daemon_options, span_options
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.names import Names
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.stripe.comparison import ByHand, ReconciledInvoice, Verdict
from meterline_sidecar.web.answers.outbox import Reconciliation

ADVICE: Final[Mapping[Verdict, str]] = {
    "missing": "Usage that is missing at Stripe: look at the rows of its hours with"
    " `meterline outbox show ROW`. One that is confirmed, and that Stripe does not count,"
    " goes again with `meterline outbox retry ROW --certain`.",
    "extra": "More usage at Stripe than here: somebody else reports it, or reported an"
    " event twice. Stripe can cancel an event for 24 hours after it arrived; later,"
    " credit the customer at Stripe.",
}
"""What a person does about a verdict."""


@click.command()
@span_options
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    period: str | None,
    start: str | None,
    end: str | None,
) -> None:
    """Compare the ledger with Stripe's own totals.

    Compares customers and meters, which settles what was in doubt, and invoices line by
    line. Exits with 3 if anything does not match, or can only be billed by hand.
    """
    with Client.find(url, config_path) as client:
        answer = client.post(
            "/v1/reconcile", Reconciliation, period=period, start=start, end=end
        )
        if is_json:
            show_json(answer)
        else:
            tell_lines(answer, names_of(client, at_stripe=True))
    if not answer.is_equal or answer.by_hand:
        sys.exit(EXIT_FOUND)


def tell_lines(answer: Reconciliation, names: Names) -> None:
    """Print a comparison for people.

    Args:
        names: of the meters, by what Stripe calls them.
    """
    table = Table("customer", "meter", ">here", ">at Stripe", "", ">waiting", ">failed")
    for line in answer.lines:
        unit = names.unit(line.event_name)
        table.add(
            line.stripe_customer or line.customer,
            names.title(line.event_name),
            quantity(line.ours, unit),
            "-" if line.verdict == "refused" else quantity(line.theirs, unit),
            line.verdict,
            quantity(line.waiting),
            quantity(line.failed),
        )
        if line.reason is not None:
            table.add("", f"  {line.reason}", *("", "", "", "", ""))
        for hour in line.hours:
            table.add(
                "",
                f"  {hour.hour[:16].replace('T', ' ')}",
                quantity(hour.ours, unit),
                quantity(hour.theirs, unit),
                f"rows {', '.join(map(str, hour.rows))}" if hour.rows else "",
                *("", ""),
            )
    if answer.lines:
        show(table)
    if answer.invoices:
        _tell_invoices(answer.invoices)
    words = "everything matches" if answer.is_equal else "something does not match"
    if not answer.lines and not answer.invoices:
        words = "nothing was reported, so there is nothing to compare"
    if any(line.is_fresh and line.verdict != "equal" for line in answer.lines):
        words += (
            "; Stripe's totals lag behind, and some rows were sent within the last hour"
        )
    # Not while Stripe may still be adding up: it would count twice.
    verdicts = {line.verdict for line in answer.lines if not line.is_fresh}
    for advice in (text for verdict, text in ADVICE.items() if verdict in verdicts):
        click.echo(f"\n{advice}")
    n_waiting = sum(line.waiting for line in answer.lines)
    if n_waiting:
        wait = "waits" if n_waiting == 1 else "wait"
        words += f"; {n_of(n_waiting, 'row')} {wait}: see `meterline outbox`"
    click.echo(f"\n{answer.start[:16]} to {answer.end[:16]}: {words}")
    if answer.by_hand:
        _tell_by_hand(answer.by_hand, names)


def _tell_invoices(invoices: list[ReconciledInvoice]) -> None:
    """Print final invoices, here and at Stripe, in Stripe's smallest units."""
    table = Table("invoice", "at Stripe", ">here", ">there", "")
    for one in invoices:
        theirs = "-" if one.theirs is None else f"{one.theirs:,}"
        name = one.stripe_invoice or "-"
        table.add(one.invoice, name, f"{one.ours:,}", theirs, one.verdict)
        for text in one.differences:
            table.add(f"  {text}", "", "", "", "")
    show(table)


def _tell_by_hand(lines: list[ByHand], names: Names) -> None:
    click.echo("\nStripe will not bill this by itself: bill it by hand\n")
    table = Table("customer", "meter", "month", ">quantity", ">amount", "why")
    for line in lines:
        amount = "" if line.amount is None else f"{line.amount} {line.currency}"
        table.add(
            line.customer or "-",
            names.title(line.event_name),
            format_time_ms(line.month)[:7],
            quantity(line.quantity, names.unit(line.event_name)),
            amount,
            line.reason,
        )
    show(table)
