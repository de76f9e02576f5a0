"""``meterline close``: the invoices of all periods that are over become final."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import click

from meterline_sidecar.cli.ages import tell_ages
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.cli.month import Exported, export_month
from meterline_sidecar.cli.options import daemon_options, not_with, period_option
from meterline_sidecar.cli.output import Steps, money, show_json, writing
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.web.answers.closing import (
    CloseRun,
    CloseState,
    CollectedMonths,
    OpenPeriod,
)

LOOK_EVERY_S: Final = 0.2
SHOWN_MAX: Final = 20
LISTS: Final = ("held", "grace", "paid")
PAPERS: Final = ("pdf", "html")
ALL_GAPS: Final = "\0all"
"""What ``--accept-gap`` says alone: no edge is called so."""


@click.command()
@period_option(
    "Only periods of this name, such as 2026-10 or 2026-11-23, or all that begin in a"
    " month, or in the `last` one in UTC; by default all that are due."
)
@click.option("--customer", metavar="ID", help="Only this customer's periods.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only show what would become final: the earliest period of each customer.",
)
@click.option(
    "--skip-grace",
    is_flag=True,
    help="Also close periods that are over but still in their grace.",
)
@click.option(
    "--accept-gap",
    "gap",
    is_flag=False,
    flag_value=ALL_GAPS,
    metavar="[EDGE]",
    help="Close even though events are known to be missing; each invoice lists them."
    " With the name of an edge: only those that this edge may still have.",
)
@click.option("--reason", help="Why; it is kept. Needed with --accept-gap EDGE.")
@click.option(
    "--list",
    "listed",
    type=click.Choice(LISTS),
    help="Only list what should be final but is not, what is in its grace, or how many"
    " invoices of each month are paid, what is left to pay, and how long that is"
    " overdue.",
)
@click.option(
    "--export",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Only write a month's documents into a folder, with tables of lines and"
    " totals. Needs --period.",
)
@click.option(
    "--documents",
    type=click.Choice(PAPERS),
    help="The format in which --export writes each document; by default pdf.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    period: str | None,
    customer: str | None,
    gap: str | None,
    reason: str | None,
    listed: str | None,
    folder: Path | None,
    documents: Literal["pdf", "html"] | None,
    **flags: bool,
) -> None:
    """Make invoices final for periods that are over.

    The sidecar does this by itself, 24 hours after the end of each customer's period,
    unless meterline.toml says otherwise. This command does it now, and shows what holds
    up the rest. You can interrupt it: the sidecar continues, and nothing is closed
    twice. Exits with 3 if something is held up.
    """
    rest = {"customer": customer, "accept_gap": gap, "reason": reason, **flags}
    if listed is not None:
        not_with("list", period=period, export=folder, documents=documents, **rest)
    elif folder is not None:
        not_with("export", **rest)
        if period is None:
            raise click.UsageError("--export needs --period, such as 2026-10")
    elif documents is not None:
        raise click.UsageError("--documents goes with --export")
    with Client.find(url, config_path) as client:
        if folder is not None and period is not None:
            with writing(folder):
                found = export_month(
                    client, folder, period=period, documents=documents or "pdf"
                )
            _tell_export(found, folder, is_json=is_json)
            return
        if listed == "paid":
            months = client.get("/v1/close/months", CollectedMonths)
            (show_json if is_json else tell_collected)(months)
            return
        if listed is not None:
            _list(client.get("/v1/close", CloseState), listed, is_json=is_json)
            return
        given = {name: "true" if flag else None for name, flag in flags.items()}
        given |= _accepted(gap, reason)
        run = client.post(
            "/v1/close", CloseRun, period=period, customer=customer, **given
        )
        run = _ended(client, run, Steps(quiet=is_json))
    if is_json:
        show_json(run)
    else:
        _tell(run)
    if run.error is not None or run.held:
        sys.exit(EXIT_FOUND)


def _accepted(gap: str | None, reason: str | None) -> dict[str, str | None]:
    """Return what is given up, as the API takes it."""
    if gap is None:
        return {"reason": reason}
    if gap == ALL_GAPS:
        return {"accept_gap": "true", "reason": reason}
    if not reason:
        raise click.UsageError("say why, with --reason")
    return {"accept_edge": gap, "reason": reason}


def _ended(client: Client, run: CloseRun, steps: Steps) -> CloseRun:
    """Wait for the end of a run, and say how far it has come."""
    while run.ended is None:
        time.sleep(LOOK_EVERY_S)
        state = client.get("/v1/close", CloseState)
        for found in (state.running, state.asked):
            if found is not None and found.number == run.number:
                run = found
        if run.due:
            steps.show("periods", run.closed + run.n_held, run.due)
        if state.running is None and run.ended is None:
            raise click.ClickException(
                "the sidecar was restarted in the meantime; what it had closed stays"
                " closed: run the command again for the rest"
            )
    return run


def _tell_export(found: Exported, folder: Path, *, is_json: bool) -> None:
    if is_json:
        show_json({"folder": str(folder), **found._asdict()})
        return
    amounts = [money(amount, currency) for currency, amount in found.due.items()]
    total = f", {' and '.join(amounts)} in all" if amounts else ""
    click.echo(f"{n_of(found.n_documents, 'document')}{total}: {folder}")


def _tell(run: CloseRun) -> None:
    if run.invoices:
        table = Table("customer", "period", ">due")
        for one in run.invoices[:SHOWN_MAX]:
            table.add(one.customer, one.period, money(one.due, one.currency))
        show(table)
        more = run.closed - min(len(run.invoices), SHOWN_MAX)
        if more > 0:
            click.echo(f"and {n_of(more, 'more invoice')}")
        click.echo()
    what = "would become final" if run.is_dry else "are final now"
    if run.closed == 1:
        what = "would become final" if run.is_dry else "is final now"
    click.echo(f"{n_of(run.closed, 'invoice')} {what}{_totals(run)}")
    if not run.closed and not run.n_held:
        click.echo("nothing is due; `meterline close --list grace` shows what is next")
    if run.n_held:
        click.echo()
        _tell_held(run.held, run.n_held)
    if run.error is not None:
        click.secho(f"! it ended early: {run.error}", fg="red")


def _totals(run: CloseRun) -> str:
    amounts = [money(one.amount, one.currency) for one in run.totals]
    return f": {' and '.join(amounts)}" if amounts else ""


def _tell_held(held: Sequence[OpenPeriod], n_held: int) -> None:
    """Print what is held up, those with one reason together."""
    by_reason: dict[str, list[OpenPeriod]] = {}
    for one in held:
        by_reason.setdefault(one.why or "", []).append(one)
    for why, periods in by_reason.items():
        names = [f"{one.customer} ({one.period})" for one in periods]
        shown = ", ".join(names[:SHOWN_MAX])
        more = len(names) - SHOWN_MAX
        click.secho(
            f"! held up: {shown}{f' and {more} more' if more > 0 else ''}", fg="yellow"
        )
        click.echo(f"  {why}")
    if n_held > len(held):
        click.echo(f"and {n_of(n_held - len(held), 'more customer')}")


def tell_collected(answer: CollectedMonths) -> None:
    """Print how the invoices of each month stand, for people."""
    table = Table("period", "state", ">invoices", ">amount")
    for month in answer.months:
        for heap in month.states:
            if heap.invoices:
                owed = [money(one.amount, one.currency) for one in heap.amounts]
                amount = " and ".join(owed)
                table.add(month.period, heap.state, f"{heap.invoices:,}", amount)
    show(table, none="no invoice is final yet")
    if answer.ages:
        click.echo()
        tell_ages(answer.ages, money)


def _list(state: CloseState, listed: str, *, is_json: bool) -> None:
    periods = state.held if listed == "held" else state.in_grace
    if is_json:
        show_json(periods)
    elif listed == "held":
        _tell_held(state.held, state.n_held)
        if not state.held:
            click.echo("nothing is held up")
    else:
        table = Table("customer", "period", "ended", "final from")
        for one in periods:
            table.add(one.customer, one.period, one.ended, one.grace_ends or "now")
        if periods:
            show(table)
        else:
            click.echo("no period is in its grace")
