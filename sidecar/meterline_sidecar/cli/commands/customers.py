"""``meterline customers``: who there is; those whom the API looks after, changed."""

import tomllib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote

import click
import msgspec

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.options import DAY, daemon_options
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.config.held_plans import HeldPlan
from meterline_sidecar.web.answers.customers import (
    CustomerChanged,
    CustomerFields,
    CustomerPage,
    NewCustomer,
    ShownCustomer,
)

F = TypeVar("F", bound=Callable[..., object])
PRICES_HINT: Final = "'--prices'"
OWNERS: Final = {"file": "the files", "api": "the API"}


@click.group()
def command() -> None:
    """List customers, and change those that the API owns.

    Each customer has one owner: the files, or the API and these commands.
    """


def _fields(function: F) -> F:
    """Add what can be said about a customer to a command."""
    for name, kind, text in (
        (
            "--from",
            DAY,
            "The day from which plan, subjects, time zone and anchor apply.",
        ),
        ("--stripe-customer", str, "Their ID at Stripe, such as cus_NffrFeUfNV2Hib."),
        ("--ends", DAY, "The last day to bill."),
        ("--starts", DAY, "The first day to bill."),
        ("--anchor", DAY, "A day on which a billing period begins."),
        ("--time-zone", str, "An IANA name such as Europe/Berlin."),
        ("--locale", str, "How amounts and dates are written for them, such as de-DE."),
        ("--email", str, "Where invoices go; empty: nowhere."),
        ("--tax-id", str, "Their tax id as it appears on documents."),
        ("--plan", str, "A plan of the price list; empty: none."),
        ("--name", str, "Their name on documents."),
    ):
        metavar = "DAY" if kind is DAY else "TEXT"
        function = click.option(name, type=kind, metavar=metavar, help=text)(function)
    for name, text in (
        ("--address", "A line of their address; repeat it for each."),
        (
            "--beside",
            "A further plan, such as addon, addon:2026-11-10 or"
            " addon:2026-11-10:2026-12-31 with its first and last day; repeat it for"
            " each; empty: none.",
        ),
        ("--subject", "A subject or a pattern such as key_*; repeat it for each."),
    ):
        function = click.option(name, multiple=True, metavar="TEXT", help=text)(
            function
        )
    return function


@command.command("list")
@daemon_options
def list_customers(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """List all customers with their owners."""
    with Client.find(url, config_path) as client:
        pages = client.pages("/v1/customers", CustomerPage)
        found = [customer for page in pages for customer in page.customers]
    if is_json:
        show_json(found)
        return
    table = Table("id", "name", "plan", "owner", "subjects")
    for one in found:
        owner = "taken out" if one.is_taken_out else one.owner
        plans = ", ".join([one.plan or "", *map(str, one.plans)])
        table.add(one.id, one.name, plans, owner, _some(one.subjects))
    show(
        table,
        none="no customer is defined; add a [[customer]] to meterline.toml, or use"
        " `meterline customers add`",
    )


@command.command("show")
@click.argument("customer")
@daemon_options
def show_one(
    config_path: Path | None, url: str | None, is_json: bool, customer: str
) -> None:
    """Show what is agreed with CUSTOMER now."""
    with Client.find(url, config_path) as client:
        found = client.get(_path(customer), ShownCustomer)
    if is_json:
        show_json(found)
    else:
        _show(found)


PRICES = click.option(
    "--prices",
    "prices_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Their own prices: a file with [[override]] tables as in pricing.toml,"
    " without `customer`; an empty file: those of the plan.",
)


@command.command()
@click.argument("customer")
@_fields
@PRICES
@daemon_options
def add(
    config_path: Path | None, url: str | None, is_json: bool, customer: str, **said: Any
) -> None:
    """Add CUSTOMER, who must not exist yet."""
    body = NewCustomer(id=customer, **_said(said))
    with Client.find(url, config_path) as client:
        made = client.send("POST", "/v1/customers", CustomerChanged, body)
    _tell(made, is_json=is_json)


@command.command()
@click.argument("customer")
@_fields
@PRICES
@daemon_options
def change(
    config_path: Path | None, url: str | None, is_json: bool, customer: str, **said: Any
) -> None:
    """Change CUSTOMER; what you do not give stays as it is."""
    fields = CustomerFields(**_said(said))
    with Client.find(url, config_path) as client:
        client.get(_path(customer), ShownCustomer)  # or it would be added
        made = client.send("PUT", _path(customer), CustomerChanged, fields)
    _tell(made, is_json=is_json)


@command.command()
@click.argument("customer")
@click.option(
    "--day", type=DAY, metavar="DAY", help="The last day to bill; by default today."
)
@daemon_options
def end(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    customer: str,
    day: date | None,
) -> None:
    """Set the last day of CUSTOMER. What they used can still be invoiced."""
    last = None if day is None else str(day)
    with Client.find(url, config_path) as client:
        made = client.post(f"{_path(customer)}/end", CustomerChanged, day=last)
    _tell(made, is_json=is_json)


@command.command()
@click.argument("customer")
@click.option(
    "--owner",
    type=click.Choice(list(OWNERS)),
    required=True,
    help="The new owner: the files, which must name them, or the API.",
)
@daemon_options
def adopt(
    config_path: Path | None, url: str | None, is_json: bool, customer: str, owner: str
) -> None:
    """Make the files or the API the owner of CUSTOMER."""
    with Client.find(url, config_path) as client:
        made = client.post(f"{_path(customer)}/adopt", CustomerChanged, owner=owner)
    _tell(made, is_json=is_json)


def _path(customer: str) -> str:
    return f"/v1/customers/{quote(customer, safe='')}"


def _said(given: dict[str, Any]) -> dict[str, Any]:
    """Return what was given, by the fields of the API."""
    said: dict[str, Any] = {}
    for name, value in given.items():
        if value in (None, ()):
            continue
        if isinstance(value, Path):
            said["overrides"] = overrides_in(value)
            continue
        if name == "beside":
            said["plans"] = tuple(held_plan(text) for text in value if text)
            continue
        said[{"from": "from_day", "subject": "subjects"}.get(name, name)] = value
    for name in ("plan", "tax_id", "email", "locale"):
        if said.get(name) == "":
            said[name] = None
    return said


def held_plan(text: str) -> HeldPlan:
    """Return a plan that a customer has beside theirs, as it is written in a command.

    Raises:
        click.BadParameter: its days are none.
    """
    plan, *days = text.split(":", 2)
    try:
        said = [date.fromisoformat(day) if day else None for day in days]
    except ValueError as error:
        message = f"{text}: expected PLAN, PLAN:DAY or PLAN:DAY:DAY"
        raise click.BadParameter(message, param_hint="'--beside'") from error
    first, last = (*said, None, None)[:2]
    return HeldPlan(plan=plan, from_day=first, to=last)


def overrides_in(path: Path) -> tuple[dict[str, Any], ...]:
    """Return the tables of a file with prices of a customer's own.

    Raises:
        click.BadParameter: it is no TOML, or has something else in it.
    """
    try:
        # A float goes as it is: what takes it says what to write.
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint=PRICES_HINT) from error
    tables = found.pop("override", [])
    if found or not isinstance(tables, list):
        raise click.BadParameter(
            f"{path}: expected nothing but [[override]] tables", param_hint=PRICES_HINT
        )
    return tuple(cast("list[dict[str, Any]]", tables))


def _tell(made: CustomerChanged, *, is_json: bool) -> None:
    if is_json:
        show_json(made)
        return
    for text in made.changes:
        click.echo(text)
    if made.money is not None:
        tell_consequences(made.money)
    if not made.changes:
        click.echo(f"{made.customer.id}: managed by {OWNERS[made.customer.owner]}")


def _show(found: ShownCustomer) -> None:
    table = Table("", found.id)
    for name, value in msgspec.structs.asdict(found).items():
        if name != "id":
            table.add(name.replace("_", " "), _text(value))
    show(table)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(str(item) for item in cast("tuple[object, ...]", value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _some(subjects: tuple[str, ...]) -> str:
    """Return the first few subjects, and how many more there are."""
    shown = ", ".join(subjects[:3])
    return f"{shown}, and {len(subjects) - 3} more" if len(subjects) > 3 else shown
