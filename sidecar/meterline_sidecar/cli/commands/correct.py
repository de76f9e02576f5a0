"""``meterline correct``: events that do not count, and others in their place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from meterline.quantities import checked_quantity
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.options import (
    ID,
    TIME,
    daemon_options,
    event_filters,
    not_with,
    period_option,
    reason_option,
)
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.typed import NotTyped, number_typed
from meterline_sidecar.web.answers.corrections import (
    CorrectionAnswer,
    CorrectionPage,
)

PATH: Final = "/v1/corrections"
ASKED_CHARS: Final = 60
PARTS: Final = ("quantities", "properties")
OPTIONS: Final = {"events": "event", "changes": "set", "added": "add"}
"""What their parameters are called otherwise."""


@click.command()
@click.option(
    "--event",
    "events",
    metavar="ID",
    type=ID,
    multiple=True,
    help="The event with this id; repeat it for each.",
)
@event_filters
@click.option("--source", metavar="TEXT", help="Only what this sender sent over HTTP.")
@click.option(
    "--external-id", metavar="TEXT", help="Only with this id from its sender."
)
@click.option("--meter", metavar="NAME", help="Only events that this meter counts.")
@period_option("Only of this billing period, such as 2026-10 or `last`.")
@click.option(
    "--start",
    "--from",
    "start",
    type=TIME,
    metavar="TIME",
    help="Only from this time, such as 2026-11-22T08:00:00Z; UTC if it names no zone.",
)
@click.option(
    "--end",
    "--to",
    "end",
    type=TIME,
    metavar="TIME",
    help="Only before this time, likewise.",
)
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="What the events should have contained: subject=, time=, quantities.NAME= or"
    " properties.NAME=. Without it, they are voided.",
)
@click.option(
    "--add",
    "added",
    metavar="NAME=AMOUNT",
    multiple=True,
    help="Add a quantity that was never recorded, with --subject and --at.",
)
@click.option(
    "--at",
    type=TIME,
    metavar="TIME",
    help="When the added quantity was used, likewise.",
)
@click.option("--revert", metavar="ID", type=ID, help="Revert this correction.")
@click.option("--list", "is_list", is_flag=True, help="List corrections.")
@reason_option(required=False)
@click.option("--key", help="Your own name for it: with the same key, it is made once.")
@click.option("--dry-run", is_flag=True, help="Only show what it would change.")
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    is_list: bool,
    revert: int | None,
    dry_run: bool,
    **given: Any,
) -> None:
    """Void events, change their content, or add usage.

    No event is changed: a correction is kept next to them, with its reason and author,
    and can be reverted. Differences to final invoices are billed on the next ones.

    \b
    meterline correct --event 17 --reason "a test" --dry-run
    meterline correct --customer acme --start 2026-11-03T10:00:00Z \\
        --end 2026-11-03T11:00:00Z --reason "the outage"
    meterline correct --event 17 --set quantities.tokens=50 --reason "a typo"
    meterline correct --add tokens=500 --subject key_1 --at 2026-11-03T10:00:00Z \\
        --reason "was not recorded"
    meterline correct --revert 3 --reason "it was no test"
    """
    params = {"dry_run": "true"} if dry_run else {}
    if is_list:
        not_with("list", revert=revert, dry_run=dry_run, **_by_option(given))
    elif revert is not None:
        rest = {name: value for name, value in given.items() if name != "reason"}
        not_with("revert", **_by_option(rest))
    with Client.find(url, config_path) as client:
        if is_list:
            pages = list(client.pages(PATH, CorrectionPage))
            _tell_list(pages, is_json=is_json)
            return
        if not given["reason"]:
            raise click.UsageError("say why, with --reason")
        if revert is not None:
            answer = client.post(
                f"{PATH}/{revert}/revert",
                CorrectionAnswer,
                reason=given["reason"],
                **params,
            )
        else:
            body = _body(**given)
            answer = client.send(
                "POST", PATH, CorrectionAnswer, body, is_work=True, **params
            )
    if is_json:
        show_json(answer)
    else:
        _tell(answer)


def _by_option(given: Mapping[str, object]) -> dict[str, object]:
    """Return what was given by the names of the options, not of the parameters."""
    return {OPTIONS.get(name, name): value for name, value in given.items()}


def _body(
    *,
    events: tuple[int, ...],
    changes: tuple[str, ...],
    added: tuple[str, ...],
    at: str | None,
    **given: str | None,
) -> dict[str, Any]:
    """Return what the API is asked for."""
    body: dict[str, Any] = {k: value for k, value in given.items() if value is not None}
    if added:
        if events or changes:
            raise click.UsageError("--add cannot be combined with --event or --set")
        if at is None or given["subject"] is None:
            raise click.UsageError("--add needs --subject and --at")
        event: dict[str, Any] = {"time": at, "quantities": _amounts(added)}
        for name in ("subject", "kind", "method", "route", "status"):
            if (value := body.pop(name, None)) is not None:
                event[name] = _number(value) if name == "status" else value
        return body | {"add": [event]}
    if at is not None:
        raise click.UsageError("--at goes with --add")
    if events:
        body["events"] = events
    if changes:
        body["set"] = _changes(changes)
    return body


def _amounts(texts: tuple[str, ...]) -> dict[str, int | str]:
    return {name: _amount(name, value) for name, value in map(_pair, texts)}


def _changes(texts: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in map(_pair, texts):
        group, _, own = name.partition(".")
        if group in PARTS and own:
            said = _amount(own, value) if group == "quantities" else value
            found.setdefault(group, {})[own] = said
        elif name in ("subject", "time"):
            found[name] = value
        else:
            raise click.UsageError(
                f"--set {name}: it sets subject, time, quantities.NAME or"
                " properties.NAME"
            )
    return found


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise click.UsageError(f"{text!r}: write it as NAME=VALUE")
    return name, value


def _amount(name: str, text: str) -> int | str:
    """Return a quantity as the API takes it: what is not whole is a text."""
    if problem := checked_quantity(name, 0)[2]:
        raise click.UsageError(f"{name}: {problem}")
    try:
        return _number(f"{number_typed(text):f}")
    except NotTyped as error:
        raise click.UsageError(f"{name}: {error}") from error


def _number(text: str) -> int | str:
    """Return a whole number as one; another one stays the text that it is."""
    return int(text) if text.isascii() and text.isdigit() else text


def _tell(answer: CorrectionAnswer) -> None:
    span = "" if answer.first is None else f", {answer.first} to {answer.last}"
    parts = [
        text
        for count, text in (
            (answer.void, f"{n_of(answer.void, 'event')} void"),
            (answer.counting, f"{n_of(answer.counting, 'event')} counted in addition"),
        )
        if count
    ]
    said = f"{' and '.join(parts)}{span}"
    if answer.correction is not None:
        click.echo(f"correction {answer.correction.correction}: {said}")
        return
    click.echo(f"would be: {said}")
    if answer.money is not None:
        tell_consequences(answer.money)
        if not answer.money.periods:
            click.echo("no period's amount changes")
    click.echo("\nnothing has been corrected yet; to do it, leave out --dry-run")


def _tell_list(pages: list[CorrectionPage], *, is_json: bool) -> None:
    found = [one for page in pages for one in page.corrections]
    if is_json:
        show_json(CorrectionPage(corrections=tuple(found), next_after=None))
        return
    if not found:
        click.echo("nothing was corrected")
        return
    table = Table(">id", "what", ">events", "asked for", "when", "by", "state", "why")
    for one in found:
        table.add(
            str(one.correction),
            one.kind,
            str(one.events),
            one.told[:ASKED_CHARS],
            one.corrected,
            one.author,
            one.state,
            one.reason,
        )
    show(table)
