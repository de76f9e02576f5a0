"""The command group: each command is loaded from its module when it is asked for.

``meterline check`` must not wait for the imports of ``meterline run``, so a command
is named here and its module imported only when it runs: ``what-if`` is the object
``command`` of ``meterline_sidecar.cli.commands.what_if``.
"""

import importlib
import os
import sys
from typing import Final

import click

import meterline
from meterline_pricing.tools import nearest
from meterline_sidecar.cli.exits import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    Unreachable,
)
from meterline_sidecar.errors import ConfigError, MeterlineError

COMMANDS: Final = {
    "init": "Write a first meterline.toml and pricing.toml.",
    "check": "Tell everything that is wrong with the configuration.",
    "run": "Run the sidecar.",
    "demo": "Serve and bill a worked example, end to end.",
    "status": "Is it working?",
    "usage": "Who used what.",
    "events": "The raw events behind the usage.",
    "tail": "Events as they arrive.",
    "top": "Who and what is busy right now.",
    "quote": "What a quantity costs under a plan.",
    "invoice": "A customer's draft invoice.",
    "outbox": "What Stripe is told, and what hangs.",
    "report": "Tell Stripe now, or show what would be told.",
    "stripe": "Meters, products and prices at Stripe.",
    "reconcile": "The ledger against Stripe's own totals.",
    "doctor": "Look at everything that could be wrong.",
    "verify": "Prove that the ledger is what was written to it.",
    "backup": "Copy the ledger while the sidecar runs, and verify the copy.",
    "what-if": "What everybody would pay under other prices.",
    "token": "Who may ask the HTTP API.",
    "config": "The reference of the configuration, and its schema for editors.",
}
"""Every command with its line in ``meterline --help``."""


class LazyGroup(click.Group):
    """Knows its commands by name and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, from its module."""
        if cmd_name not in COMMANDS:
            return None
        name = f"meterline_sidecar.cli.commands.{cmd_name.replace('-', '_')}"
        command: click.Command = importlib.import_module(name).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest."""
        near = nearest(args[0], COMMANDS)
        if near is not None and near != args[0]:
            ctx.fail(f"no command {args[0]!r}; did you mean {near!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(meterline.__version__, prog_name="meterline")
@click.pass_context
def cli(context: click.Context) -> None:
    """Meter every API request, price it, and report it to Stripe."""
    if os.environ.get("NO_COLOR"):  # no-color.org; click leaves it to us
        context.color = False


def main() -> None:
    """Run the command line and turn our errors into a line and an exit code."""
    try:
        cli(prog_name="meterline")
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    except MeterlineError as error:
        click.echo(f"meterline: {error}", err=True)
        is_away = isinstance(error, Unreachable)
        sys.exit(EXIT_UNREACHABLE if is_away else EXIT_FAILED)
