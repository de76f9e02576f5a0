"""``meterline token``: who may ask the HTTP API."""

from pathlib import Path
from typing import cast

import click

from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import Table, show, show_json
from meterline_sidecar.clock import SystemClock, format_time_ms
from meterline_sidecar.config_file import read_config
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.tokens import SCOPES, Scope, TokenFile, tokens_path


@click.group()
def command() -> None:
    """Make, list and revoke tokens of the HTTP API.

    They stand beside the database, so the sidecar need not run, and knows of a change
    with the next request.
    """


@command.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default="status",
    show_default=True,
    help="How things are; what was used and what it costs, too; change things, too.",
)
@CONFIG
@JSON
def create(config_path: Path | None, is_json: bool, name: str, scope: str) -> None:
    """Make a token called NAME and print it, this once."""
    made = _tokens(config_path).create(
        name, cast("Scope", scope), now_ms=SystemClock().now_ms()
    )
    if is_json:
        show_json({"id": made.token.id, "token": made.text})
        return
    click.echo(made.text)
    click.echo("it is not kept: copy it now", err=True)


@command.command("list")
@CONFIG
@JSON
def list_tokens(config_path: Path | None, is_json: bool) -> None:
    """List tokens, the oldest first; what they are is not known here."""
    tokens = _tokens(config_path).all()
    if is_json:
        show_json([{"id": t.id, "name": t.name, "scope": t.scope} for t in tokens])
        return
    table = Table("id", "name", "scope", "made")
    for token in tokens:
        table.add(token.id, token.name, token.scope, format_time_ms(token.created_ms))
    show(table)


@command.command()
@click.argument("token_id", metavar="ID")
@CONFIG
def revoke(config_path: Path | None, token_id: str) -> None:
    """Refuse a token from now on."""
    token = _tokens(config_path).revoke(token_id)
    if token is None:
        raise MeterlineError(f"no token {token_id!r}; see `meterline token list`")
    click.echo(f"revoked {token.name}")


def _tokens(config_path: Path | None) -> TokenFile:
    return TokenFile(tokens_path(read_config(config_path).sidecar.database))
