"""The command group: each command is loaded from its module when it is asked for.

``meterline check`` must not wait for the imports of ``meterline run``, so a command
is named here and its module imported only when it runs: ``what-if`` is the object
``command`` of ``meterline_sidecar.cli.commands.what_if``.
"""

import importlib
import keyword
import os
import sys
from types import ModuleType
from typing import Final, TextIO, cast

import click

import meterline
from meterline_pricing.tools import nearest
from meterline_sidecar.cli.exits import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    NoSidecar,
)
from meterline_sidecar.errors import ConfigError, MeterlineError
from meterline_sidecar.printable import PrintableStream

COMMANDS: Final = {
    "init": "Write a first meterline.toml and pricing.toml.",
    "check": "Report every problem in meterline.toml and pricing.toml.",
    "run": "Run the sidecar.",
    "reload": "Have the sidecar read its files again.",
    "demo": "Run a worked example, from requests to an invoice.",
    "status": "Show what was counted, what is under way, and what is wrong.",
    "customers": "List customers, and change those that the API owns.",
    "usage": "Show usage by customer.",
    "events": "Show the raw events behind the usage.",
    "import": "Read events from a file, at once or staged first.",
    "held": "Show events whose time cannot be right; accept or reject them.",
    "correct": "Void events, change their content, or add usage.",
    "late": "Show late usage that is not billed by itself; accept or reject it.",
    "tail": "Print events as they are stored.",
    "top": "Show which workers, customers and routes are busy.",
    "quote": "Show what quantities cost under a plan.",
    "explain": "Show how an invoice came about, down to the events.",
    "close": "Make invoices final for periods that are over.",
    "credit": "Grant a customer a credit, or show what is left.",
    "invoice": "Show an invoice, write it to a file, or record what became of it.",
    "invoices": "List final invoices and credit notes, the newest first.",
    "statement": "Show a customer's invoices, credit notes and payments, and what is owed.",
    "outbox": "Show what Stripe is told; retry or drop what is stuck.",
    "report": "Report to Stripe now, or show what would be sent.",
    "stripe": "Show or create meters, products and prices at Stripe.",
    "reconcile": "Compare the ledger with Stripe's own totals.",
    "alerts": "List active alerts, since when they are active, and what to do about"
    " each.",
    "doctor": "Look for anything that could be wrong, and say what to do about it.",
    "verify": "Prove that the ledger has not been changed.",
    "audit": "Show who changed what affects money, the newest first.",
    "backup": "Copy the ledger while the sidecar runs, and verify the copy.",
    "backups": "List the backups of this ledger, the oldest first.",
    "restore": "Replace the ledger with a backup, and show what is missing since.",
    "archive": "Move old events out of the ledger, and back.",
    "erase": "Remove the name of a SUBJECT from the ledger, for good.",
    "meters": "Count again what a meter measured.",
    "what-if": "Show what every customer would pay under other prices.",
    "centre": "Move a ledger to a centre's database on a server, or back into a file.",
    "edges": "List the edges of a centre; adopt or retire one.",
    "token": "Create, list and revoke tokens for the HTTP API.",
    "config": "Print the reference of the configuration, or its schema.",
}
"""Every command with its line in ``meterline --help``: the first line of its own help.

Written here too, so that ``--help`` loads none of them; a test holds the two together.
"""


class LazyGroup(click.Group):
    """Knows its commands by name and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command, from its module."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        if keyword.iskeyword(name):
            name += "_"
        module = importlib.import_module(f"meterline_sidecar.cli.commands.{name}")
        command: click.Command = module.command
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
    # httpx has a command line of its own, and brings rich and pygments with it: 70 ms of
    # CPU time at each start. A module that is None cannot be imported, and httpx goes on
    # without, as where these are not installed.
    sys.modules.setdefault("httpx._main", cast("ModuleType", None))
    # All of it passes here: our words, those of apps and their clients, and logs.
    sys.stdout = cast("TextIO", PrintableStream(sys.stdout))
    sys.stderr = cast("TextIO", PrintableStream(sys.stderr))
    try:
        cli(prog_name="meterline")
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    except PermissionError as error:
        click.echo(
            f"meterline: {error.filename}: {error.strerror}; run this as the user that"
            " the sidecar runs as",
            err=True,
        )
        sys.exit(EXIT_FAILED)
    except OSError as error:
        text = error.strerror or str(error)
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"meterline: {where}{text}; check the disk and its room", err=True)
        sys.exit(EXIT_FAILED)
    except MeterlineError as error:
        click.echo(f"meterline: {error}", err=True)
        is_away = isinstance(error, NoSidecar)
        sys.exit(EXIT_UNREACHABLE if is_away else EXIT_FAILED)
