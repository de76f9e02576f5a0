"""``meterline held``: events whose time cannot be right, and what to do with them."""

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.names import check_customer
from meterline_sidecar.cli.options import (
    AFTER,
    ID,
    daemon_options,
    is_given,
    limit_option,
    reason_option,
)
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store.edge.held import STATES
from meterline_sidecar.web.answers.held import HeldDecision, HeldPage

F = TypeVar("F", bound=Callable[..., object])

REASON_CHARS: Final = 40


@click.group()
def command() -> None:
    """Show events whose time cannot be right; accept or reject them.

    An event that says it happened more than 5 minutes ahead of the sidecar's clock, or
    before 2026, is held: stored, and not billed. One that comes late, from a spool that
    nobody read for months, is counted in the month of its time. One that was ahead is
    counted by itself once its time has come. All others wait for a person, and no
    period that they could belong to becomes final before.
    """


def _whose(command: F) -> F:
    """Add what held events can be chosen by."""
    for name, metavar, text in (
        ("--producer", "ID", "Only what this worker's process recorded."),
        ("--customer", "ID", "Only what this customer would pay for."),
    ):
        command = click.option(name, metavar=metavar, help=text)(command)
    return command


def _decision(command: F) -> F:
    """Add what a decision needs."""
    for option in (
        click.option(
            "--dry-run", is_flag=True, help="Only show how many events it would be."
        ),
        click.option(
            "--author",
            metavar="NAME",
            help="Who decides; by default you, by your name on this machine.",
        ),
        reason_option(),
        click.option("--all", "is_all", is_flag=True, help="All events that wait."),
        click.argument("event", type=ID, required=False),
    ):
        command = option(command)
    return daemon_options(_whose(command))


@command.command("list")
@_whose
@click.option(
    "--state",
    type=click.Choice(STATES),
    help="Only in this state.",
)
@limit_option("events")
@click.option(
    "--after", type=AFTER, metavar="ID", default=0, help="Only events after this one."
)
@daemon_options
def list_held(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    limit: int,
    after: int,
    **wanted: str | None,
) -> None:
    """List held events, the oldest first, with what became of them."""
    with Client.find(url, config_path) as client:
        page = client.get("/v1/held", HeldPage, limit=limit, after=after, **wanted)
        if not page.events:
            check_customer(client, wanted["customer"])
    if is_json:
        show_json(page)
        return
    if not page.events:
        click.echo("no such event is held")
        return
    table = Table(
        ">id", "says", "stored", "subject", "customer", "worker", "state", "why"
    )
    for event in page.events:
        state = event.state
        if event.counted_as is not None:
            state_text = f"{state} as {event.counted_as}"
        else:
            state_text = state
        table.add(
            str(event.event),
            event.time,
            event.learned,
            event.subject or "-",
            event.customer or "-",
            f"{event.app} {event.pid} on {event.host}",
            state_text,
            (event.reason or "")[:REASON_CHARS],
        )
    show(table)
    if page.next_after is not None:
        click.echo(f"\nmore: --after {page.next_after}")


@command.command()
@_decision
def accept(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    **decision: str | int | bool | None,
) -> None:
    """Count held events after all, at the time that they say.

    EVENT is an id of `meterline held list`; without one, name a customer or a worker,
    or say --all. What is counted stays counted.
    """
    with Client.find(url, config_path) as client:
        answer = _decide(client, "accept", decision)
    _tell(answer, "accepted: counted at the time that they say", is_json=is_json)


@command.command()
@_decision
def reject(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    **decision: str | int | bool | None,
) -> None:
    """Leave held events out of billing.

    EVENT is an id of `meterline held list`; without one, name a customer or a worker,
    or say --all. An event that was rejected can still be accepted by its id.
    """
    with Client.find(url, config_path) as client:
        answer = _decide(client, "reject", decision)
    _tell(answer, "rejected: not billed", is_json=is_json)


def _decide(
    client: Client, verb: str, decision: dict[str, str | int | bool | None]
) -> HeldDecision:
    is_all, is_dry_run = decision.pop("is_all"), decision.pop("dry_run")
    chosen = {
        "an EVENT": decision["event"],
        "--customer": decision["customer"],
        "--producer": decision["producer"],
        "--all": is_all,
    }
    given = [name for name, value in chosen.items() if is_given(value)]
    if not given:
        raise click.UsageError(
            "say which events, by an EVENT, --customer, --producer or --all"
        )
    for alone in ("an EVENT", "--all"):
        if alone in given and len(given) > 1:
            other = next(name for name in given if name != alone)
            raise click.UsageError(f"{alone} cannot be combined with {other}")
    author = decision.pop("author") or _who()
    return client.post(
        f"/v1/held/{verb}",
        HeldDecision,
        all="true" if is_all else None,
        dry_run="true" if is_dry_run else None,
        author=author,
        **decision,
    )


def _who() -> str:
    """Return who types this; a user without a name is its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _tell(answer: HeldDecision, done: str, *, is_json: bool) -> None:
    if is_json:
        show_json(answer)
        return
    n_events = n_of(answer.events, "event")
    if not answer.events:
        click.echo("no held event matches; `meterline held list` shows all of them")
        return
    whose = f"of {n_of(answer.subjects, 'subject')}, {answer.first} to {answer.last}"
    if answer.is_dry_run:
        click.echo(
            f"would decide about {n_events} {whose}; to do it, leave out --dry-run"
        )
    else:
        click.echo(f"{n_events} {whose}, {done}")
