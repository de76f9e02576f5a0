"""``meterline token``: who may ask the HTTP API."""

import re
from pathlib import Path
from typing import Final, cast

import click

from meterline.portal import TTL_S_MAX, portal_token
from meterline_pricing.tools import nearest
from meterline_sidecar.access.portal_key import portal_key
from meterline_sidecar.access.tokens import (
    NAME_CHARS_MAX,
    SCOPES,
    SOURCE_CHARS_MAX,
    Scope,
    Token,
    TokenFile,
)
from meterline_sidecar.cli.against_ledger import agreed_with, is_agreed_with
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CLOCK, CONFIG, JSON
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.rehearsed import clock_for
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.clock import SystemClock, format_time_ms
from meterline_sidecar.config.read import read_config, read_settings
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.files import LedgerFiles

DIGITS: Final = re.compile("[0-9]{1,9}")


@click.group()
def command() -> None:
    """Create, list and revoke tokens for the HTTP API.

    They are kept next to the database, so the sidecar need not run. A running sidecar
    applies a change from the next request on; other centres of the same ledger follow a
    few seconds later.
    """


@command.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="status",
    show_default=True,
    help="status: health only. read: also usage and prices. write: also changes."
    " ingest: send events, and nothing else. edge: for an edge to forward its events,"
    " and nothing else.",
)
@click.option(
    "--source",
    metavar="NAME",
    help="With --scope ingest: the only source whose events it may send.",
)
@CONFIG
@JSON
def create(
    config_path: Path | None, is_json: bool, name: str, scope: str, source: str | None
) -> None:
    """Create a token called NAME, and show it once."""
    if source is not None and scope != "ingest":
        raise click.UsageError("--source goes with --scope ingest")
    for said, text, chars_max in (
        ("NAME", name, NAME_CHARS_MAX),
        ("--source", source, SOURCE_CHARS_MAX),
    ):
        if text is not None and not 0 < len(text) <= chars_max:
            raise click.UsageError(f"{said} has 1 to {chars_max} characters")
    made = _tokens(config_path).create(
        name, cast("Scope", scope), now_ms=SystemClock().now_ms(), source=source
    )
    if is_json:
        show_json({"id": made.token.id, "token": made.text})
        return
    click.echo(made.text)
    click.echo("shown once; copy it now", err=True)


@command.command("list")
@CONFIG
@JSON
def list_tokens(config_path: Path | None, is_json: bool) -> None:
    """List tokens, the oldest first; the secrets themselves are not kept."""
    tokens = _tokens(config_path).all()
    if is_json:
        show_json([_shown(token) for token in tokens])
        return
    table = Table("id", "name", "scope", "made")
    for token in tokens:
        scope = token.scope if token.source is None else f"{token.scope} {token.source}"
        table.add(token.id, token.name, scope, format_time_ms(token.created_ms))
    show(table, none="there is no token; `meterline token create NAME` makes one")


@command.command()
@click.argument("token_id", metavar="ID")
@CONFIG
@JSON
def revoke(config_path: Path | None, is_json: bool, token_id: str) -> None:
    """Revoke a token. It is refused from the next request on."""
    token = _tokens(config_path).revoke(token_id, now_ms=SystemClock().now_ms())
    if token is None:
        raise MeterlineError(f"no token {token_id!r}; see `meterline token list`")
    if is_json:
        show_json(_shown(token))
    else:
        click.echo(f"revoked {token.name}")


@command.command()
@click.option("--customer", metavar="ID", required=True, help="Whose page.")
@click.option(
    "--ttl",
    metavar="SPAN",
    default="1h",
    show_default=True,
    help="How long it is valid, such as 15m or 1h; at most 24h.",
)
@click.option(
    "--link", "is_link", is_flag=True, help="Print the address of the page with it."
)
@CONFIG
@CLOCK
@JSON
def portal(
    config_path: Path | None,
    clock_path: Path | None,
    is_json: bool,
    customer: str,
    ttl: str,
    is_link: bool,
) -> None:
    """Print a token for a customer's portal; it opens that page only."""
    config = read_settings(config_path)
    if not run_interruptible(is_agreed_with(config, customer)):
        _check_written(read_config(config_path), customer)
    try:
        token = portal_token(
            customer,
            key=portal_key(config.portal_key_file),
            ttl_s=_seconds(ttl),
            now_s=clock_for(config, clock_path).now_ms() // 1000,
        )
    except ValueError as error:
        raise MeterlineError(str(error)) from error
    http = config.sidecar.http
    place = "" if http.startswith("unix:") else f"http://{http}"
    link = f"{place}/portal?token={token}"
    if is_json:
        show_json({"token": token, "url": link})
    else:
        click.echo(link if is_link else token)


def _shown(token: Token) -> dict[str, str | None]:
    return {
        "id": token.id,
        "name": token.name,
        "scope": token.scope,
        "source": token.source,
        "created": format_time_ms(token.created_ms),
    }


def _check_written(config: Config, customer: str) -> None:
    """Check that the files name a customer whom the ledger does not know yet."""
    written = {one.id for one in config.customers}
    if customer not in written:
        near = nearest(customer, written | run_interruptible(agreed_with(config)))
        names = "; `meterline customers list` names all"
        hint = f"; did you mean {near}?" if near else names
        raise MeterlineError(f"no customer {customer!r}{hint}")


def _seconds(text: str) -> int:
    """Return how long a time such as ``15m`` is."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    if unit is None or not DIGITS.fullmatch(text[:-1]):
        raise click.UsageError(f"--ttl: {text:.40} is not a duration such as 15m or 1h")
    seconds = int(text[:-1]) * unit
    if not 0 < seconds <= TTL_S_MAX:
        raise click.UsageError(f"--ttl: {text} is not between 1s and 24h, a day")
    return seconds


def _tokens(config_path: Path | None) -> TokenFile:
    config = read_settings(config_path)
    path = LedgerFiles(config.sidecar.database).tokens
    return TokenFile(path, is_shared=config.server is not None)
