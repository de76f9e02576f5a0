"""``meterline explain``: from a line of an invoice down to its events."""

import csv
import shlex
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
import msgspec

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.commands.events import tell_filed, tell_untold
from meterline_sidecar.cli.exits import NotFound
from meterline_sidecar.cli.options import DAY, PERIOD, daemon_options, not_with
from meterline_sidecar.cli.output import (
    json_line,
    money,
    quantity,
    show_json,
    shown_name,
)
from meterline_sidecar.cli.papers import NUMBER, check_customer, document_path
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.decimals import readable
from meterline_sidecar.printable import csv_cell
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.archive import left_for
from meterline_sidecar.web.answers.edge_events import EdgeEvent, EdgeEventPage, Untold
from meterline_sidecar.web.answers.explain import (
    ExplainedLine,
    Explanation,
    LineEvent,
    LineEventPage,
    LineEvents,
)
from meterline_sidecar.web.answers.invoices import ShownAdjustment
from meterline_sidecar.where import chosen

SHOWN_MAX: Final = 10
COLUMNS: Final = LineEvent.__struct_fields__
ADDED_UP: Final = ("count", "sum")
"""Of which meters what is taken of each event adds up to what is billed."""


@click.command()
@click.argument("target", metavar="NUMBER|CUSTOMER")
@click.argument("line", required=False)
@PERIOD
@click.option(
    "--day",
    type=DAY,
    metavar="DAY",
    help="Also show the windows of this day on the customer's calendar.",
)
@click.option(
    "--events",
    "form",
    type=click.Choice(["jsonl", "csv"]),
    help="Print exactly the events that LINE was counted from.",
)
@click.option(
    "--late",
    is_flag=True,
    help="With --events, for a final invoice: those that came later instead of those"
    " that it counts.",
)
@click.option(
    "--at-edges",
    is_flag=True,
    help="With --events: the raw events of edges that forward usage, from their files"
    " and from the edges themselves, instead of what arrived here.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    target: str,
    line: str | None,
    period: str | None,
    day: date | None,
    form: str | None,
    late: bool,
    at_edges: bool,
) -> None:
    """Show how an invoice came about, down to the events.

    For the invoice with NUMBER, or a CUSTOMER's for a period: how each line, or only
    LINE (its name or position), was priced, what its meter counts, and the usage by day
    and subject; then the events of the period, and where the ledger's chains record
    them.
    """
    if form is None and (late or at_edges):
        raise click.UsageError("--late and --at-edges go with --events")
    if late and at_edges:
        raise click.UsageError("--late cannot be combined with --at-edges")
    if form is not None and line is None:
        raise click.UsageError("--events needs a LINE to list the events of")
    if form == "csv":
        not_with("events csv", json=is_json)
    asked = {"line": line, "day": None if day is None else str(day)}
    with Client.find(url, config_path) as client:
        answer = None
        if period is None and NUMBER.fullmatch(target):
            answer = _of_number(client, target, asked)
        if answer is None:
            path = f"{_path(target)}/explain"
            answer = client.get_work(path, Explanation, period=period, **asked)
        if form is not None:
            _export(client, answer, asked, form=form, late=late, at_edges=at_edges)
            return
    if is_json:
        show_json(answer)
    else:
        _tell(answer)


def _path(customer: str) -> str:
    return f"/v1/customers/{quote(customer, safe='')}/invoice"


def _of_number(
    client: Client, number: str, asked: dict[str, str | None]
) -> Explanation | None:
    """Return how the invoice of a number came about; ``None``: it is a customer's id."""
    try:
        return client.get_work(f"{document_path(number)}/explain", Explanation, **asked)
    except NotFound as error:
        check_customer(client, number, error)
        return None


def _export(
    client: Client,
    answer: Explanation,
    asked: dict[str, str | None],
    *,
    form: str,
    late: bool,
    at_edges: bool,
) -> None:
    """Print the events of a line, and on stderr what they come to."""
    kind: type[LineEventPage | EdgeEventPage] = LineEventPage
    path, params = f"{_path(answer.customer)}/events", {**asked}
    columns = COLUMNS
    if at_edges:
        kind, path = EdgeEventPage, f"{_path(answer.customer)}/edge-events"
        columns = EdgeEvent.__struct_fields__
    elif late:
        params["late"] = "true"
    # The CRLF that CSV has elsewhere would be shown, as any control character is.
    write = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        write.writerow(columns)
    n_events, total = 0, Decimal(0)
    untold: tuple[Untold, ...] = ()
    page: LineEventPage | EdgeEventPage | None = None
    for page in client.pages(path, kind, period=answer.period.name, **params):
        for event in page.events:
            if form == "jsonl":
                click.echo(json_line(event))
            else:
                write.writerow(_cell(getattr(event, name)) for name in columns)
            total += Decimal(event.counted or 0)
        n_events += len(page.events)
        untold += page.untold if isinstance(page, EdgeEventPage) else ()
    assert page is not None, "the first page is there, if it is empty"
    said = n_of(n_events, "event")
    (line,) = answer.lines
    if line.meter is not None and line.meter.get("aggregation") in ADDED_UP:
        said += f", {quantity(total)} in all"
        if not late and asked["day"] is None and line.quantity is not None:
            said += f"; billed {quantity(line.quantity)}"
    click.echo(said, err=True)
    if at_edges:
        tell_untold(untold, err=True)
    else:
        tell_filed(page.edges, err=True)
    archived = page.archived if isinstance(page, LineEventPage) else ()
    if archived:
        click.echo(f"{left_for(archived)}, and they are listed", err=True)


def _cell(value: object) -> object:
    """Return a value for a table: what has parts, as JSON."""
    if isinstance(value, dict | list):
        return msgspec.json.encode(value).decode() if value else ""
    return csv_cell(value) if isinstance(value, str) else value


def _tell(answer: Explanation) -> None:
    due = money(answer.due, answer.currency)
    what = f"{answer.status} invoice" if answer.number is None else answer.number
    period = shown_name(answer.period)
    click.echo(f"{answer.customer_name}: {what} for {period}, {due} due")
    for part in answer.parts:
        plan = f"plan {part.plan}, version {part.version}" if part.plan else "no plan"
        click.echo(f"  {part.start} to {part.end}: {plan}")
    for step in answer.steps:
        click.echo(f"  {step.state} {step.at} by {step.author}: {step.cause}")
    for one in answer.billed_elsewhere:
        click.echo(
            f"  since then other invoices billed {money(one.amount, one.currency)} of it,"
            " as adjustments"
        )
    if answer.pending is not None:
        click.echo(
            f"  {money(answer.pending, answer.currency)} has been added since, which is"
            " an adjustment on the next invoice"
        )
    for line in answer.lines:
        click.echo()
        _tell_line(line, answer.currency, answer.time_zone)
        if line.events is not None:
            _tell_line_events(answer, line, line.events)
    for found in answer.adjustments:
        _tell_adjustment(answer.customer, found)
    _tell_events(answer)


def _tell_adjustment(customer: str, found: ShownAdjustment) -> None:
    """Say what an invoice bills of an earlier period, and who explains that."""
    amount, billed, now = (
        money(one, found.currency) for one in (found.amount, found.billed, found.now)
    )
    click.echo()
    click.secho(f"adjustment of {found.period}: {amount}", bold=True)
    click.echo(f"  {billed} of it had been billed before; by then the amount was {now}")
    click.echo(f"  why: meterline explain {customer} --period {found.period}")


def _tell_line(line: ExplainedLine, currency: str, time_zone: str) -> None:
    click.secho(f"{line.description}: {money(line.amount, currency)}", bold=True)
    click.echo(f"  {readable(line.explanation)}")
    if line.meter is None:
        return
    click.echo(f"  {_counts(line.meter)}")
    now = line.counted_now
    if now is not None and line.quantity is not None and now != line.quantity:
        click.secho(
            f"  billed {quantity(line.quantity)}; by now {quantity(now)} are counted",
            fg="yellow",
        )
    table = Table(f"  by day ({time_zone})", ">quantity", "  by subject", ">quantity")
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


def _tell_line_events(
    answer: Explanation, line: ExplainedLine, events: LineEvents
) -> None:
    for window in line.windows:
        click.echo(f"  {window.start}  {quantity(window.quantity)}")
    count = "" if events.n_events is None else f"{quantity(events.n_events)} "
    first, last = events.first or "no longer here", events.last or "?"
    click.echo(f"  counted from {count}events, the first is {first}, the last {last}")
    if events.late_hours:
        click.echo(
            f"  in {n_of(events.late_hours, 'hour')} events arrived after the end of"
            f" the period: those after event {events.late_after}"
        )
    target = answer.number or f"{answer.customer} --period {answer.period.name}"
    click.echo(
        f"  all of them: meterline explain {target} {shlex.quote(line.ref)} --events jsonl"
    )


def _counts(meter: dict[str, Any]) -> str:
    """Return what a meter counts, in its own words."""
    words = str(meter["aggregation"])
    if value := meter.get("value"):
        words += f" of {value}"
    where = {name: of for name, of in meter.get("where", {}).items() if of}
    asked = ", ".join(f"{name} is {chosen(of)}" for name, of in where.items())
    return f"counted by {meter['name']}: {words}{', where ' if asked else ''}{asked}"


def _tell_events(answer: Explanation) -> None:
    events = answer.events
    click.echo()
    if events.first is None and events.last is None:
        click.echo("no event of this customer is in the ledger for this period")
    else:
        first = "archived" if events.first is None else events.first
        click.echo(f"events {first} to {events.last}; all of them: {events.list}")
    if events.archived:
        click.echo(left_for(events.archived))
    tell_filed(events.edges)
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
