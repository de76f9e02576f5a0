"""``meterline explain``: from a line of an invoice down to its events."""

from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import PERIOD, daemon_options
from meterline_sidecar.cli.output import money, quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.explain import ExplainedLine, Explanation

SHOWN_MAX: Final = 10


@click.command()
@click.argument("customer")
@click.argument("line", required=False)
@PERIOD
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str,
    line: str | None,
    period: str | None,
) -> None:
    """Show how an invoice came about, down to the events.

    For each line of CUSTOMER's invoice, or for LINE alone: how it was priced, what its
    meter counts, on which days and by which subjects it was used; then the events of
    the period, and where the ledger's chains have them.
    """
    path = f"/v1/customers/{quote(customer, safe='')}/invoice/explain"
    with Client.find(url, config_path) as client:
        answer = client.get_work(path, Explanation, period=period, line=line)
    if is_json:
        show_json(answer)
    else:
        _tell(answer)


def _tell(answer: Explanation) -> None:
    due = money(answer.due, answer.currency)
    click.echo(
        f"{answer.customer_name}: {answer.status} invoice for {answer.period.name},"
        f" {due} due"
    )
    for part in answer.parts:
        plan = f"plan {part.plan}, version {part.version}" if part.plan else "no plan"
        click.echo(f"  {part.start} to {part.end}: {plan}")
    for step in answer.steps:
        click.echo(f"  {step.state} {step.at} by {step.author}: {step.cause}")
    if answer.pending is not None:
        click.echo(
            f"  since then {money(answer.pending, answer.currency)} came to it, which is"
            " an adjustment on the next invoice"
        )
    for line in answer.lines:
        click.echo()
        _tell_line(line, answer.currency)
    _tell_events(answer)


def _tell_line(line: ExplainedLine, currency: str) -> None:
    click.secho(f"{line.description}: {money(line.amount, currency)}", bold=True)
    click.echo(f"  {line.explanation}")
    if line.meter is None:
        return
    click.echo(f"  {_counts(line.meter)}")
    now = line.counted_now
    if now is not None and line.quantity is not None and now != line.quantity:
        click.secho(
            f"  billed {quantity(line.quantity)}; by now {quantity(now)} are counted",
            fg="yellow",
        )
    table = Table("  by day", ">quantity", "  by subject", ">quantity")
    shown = max(len(line.days), len(line.subjects))
    for i in range(min(shown, SHOWN_MAX)):
        day = line.days[i] if i < len(line.days) else None
        used = line.subjects[i] if i < len(line.subjects) else None
        table.add(
            "" if day is None else f"  {day.date}",
            "" if day is None else quantity(day.quantity),
            "" if used is None else f"  {used.subject}",
            "" if used is None else quantity(used.quantity),
        )
    if shown:
        show(table)
    more = [
        n_of(n - SHOWN_MAX, f"more {what}")
        for n, what in ((len(line.days), "day"), (line.n_subjects, "subject"))
        if n > SHOWN_MAX
    ]
    if more:
        click.echo(f"  and {' and '.join(more)}: --json has them")


def _counts(meter: dict[str, object]) -> str:
    """Return what a meter counts, in its own words."""
    words = [f"{name} {value}" for name, value in meter.items() if value]
    return f"counted by: {', '.join(words)}"


def _tell_events(answer: Explanation) -> None:
    events = answer.events
    click.echo()
    if events.first is None and events.last is None:
        click.echo("no event of this customer is in the ledger for this period")
    else:
        first = "archived" if events.first is None else events.first
        click.echo(f"events {first} to {events.last}; all of them: {events.list}")
    for name in events.archived:
        click.echo(f"some of them are in {name}")
    if answer.proof is not None:
        proof = answer.proof
        click.echo(
            f"counted up to event {proof.event}, in batch {proof.batch} of the chain:"
            f" {proof.batch_mac[:16]}..."
        )
        if proof.journal_mac is not None:
            click.echo(
                f"the invoice is link {proof.journal_link} of the journal:"
                f" {proof.journal_mac[:16]}..."
            )
