"""The command group: each command is loaded from its module when it is asked for.

``meterline check`` must not wait for the imports of ``meterline run``, so a command
is named here and its module imported only when it runs: ``what-if`` is the object
``command`` of ``meterline_sidecar.cli.commands.what_if``.
"""

import contextlib
import errno
import importlib
import keyword
import os
import signal
import sys
from itertools import pairwise
from types import ModuleType
from typing import Final, NoReturn, TextIO, cast

import click

import meterline
from meterline_pricing.tools import nearest
from meterline_sidecar.cli.exits import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    Interrupted,
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


DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
NOT_UTF_8: Final = "surrogates not allowed"
"""What Python says where bytes of the command line are no text."""


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
        if args[0] == "help":
            ctx.fail("write `meterline --help`, or `meterline COMMAND --help`")
        near = nearest(args[0], COMMANDS)
        if near is not None and near != args[0]:
            ctx.fail(f"no command {args[0]!r}; did you mean {near!r}?")
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and command is not None:
            _check_values(click.Context(command, parent=ctx, info_name=name), rest)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            # From here on there may be something to clear away (``__main__``).
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> object:
        """Run the command, and tell Ctrl-C from what click calls an abort.

        Raises:
            Interrupted: it was interrupted; whatever it had begun is cleared away.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _check_values(ctx: click.Context, args: list[str]) -> None:
    """Refuse an option in the place of another one's value, which click takes for it.

    ``invoices --csv --json`` would write a file of that name.
    """
    if isinstance(ctx.command, click.Group):
        for i, arg in enumerate(args):
            if (command := ctx.command.get_command(ctx, arg)) is not None:
                inner = click.Context(command, parent=ctx, info_name=arg)
                _check_values(inner, args[i + 1 :])
                return
    options = {
        name: option
        for option in ctx.command.params
        if isinstance(option, click.Option)
        for name in option.opts
    }
    for arg, following in pairwise(args):
        if arg == "--":
            return
        if following in options and arg in options and _needs_value(options[arg]):
            ctx.fail(f"{arg} needs a value, and {following} is an option")


def _needs_value(option: click.Option) -> bool:
    # ``close --accept-gap`` may stand alone.
    return not (option.is_flag or option.count or isinstance(option.flag_value, str))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(meterline.__version__, prog_name="meterline")
@click.pass_context
def cli(context: click.Context) -> None:
    """Meter every API request, price it, and report it to Stripe."""
    # no-color.org; and a dumb terminal shows them as letters. click leaves both to us.
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        context.color = False


def main() -> None:
    """Run the command line and turn our errors into a line and an exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C; what it says is for whoever pressed it.
    """
    # httpx has a command line of its own, and brings rich and pygments with it: 70 ms of
    # CPU time at each start. A module that is None cannot be imported, and httpx goes on
    # without, as where these are not installed.
    sys.modules.setdefault("httpx._main", cast("ModuleType", None))
    # All of it passes here: our words, those of apps and their clients, and logs. A
    # stream that was closed (`>&-`) is None.
    if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stdout = cast("TextIO", PrintableStream(sys.stdout, name="standard output"))
    if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr = cast("TextIO", PrintableStream(sys.stderr, name="standard error"))
    try:
        _run()
    except Interrupted as error:
        raise KeyboardInterrupt(str(error)) from error
    except ConfigError as error:
        _end(str(error), EXIT_CONFIG)
    except BrokenPipeError:  # whoever read it has what they wanted
        _drop_output()
        sys.exit(EXIT_FAILED)
    except OSError as error:
        _drop_output()
        _end(f"meterline: {_words(error)}", EXIT_FAILED)
    except UnicodeEncodeError as error:
        if error.reason != NOT_UTF_8:
            raise
        _end(f"meterline: {error.object[:60]!r} is not UTF-8", EXIT_USAGE)
    except MeterlineError as error:
        is_away = isinstance(error, NoSidecar)
        _end(f"meterline: {error}", EXIT_UNREACHABLE if is_away else EXIT_FAILED)


def _run() -> None:
    try:
        cli(prog_name="meterline")
    except SystemExit:
        # What fails later than here, Python says in a traceback.
        if sys.stdout is not None:  # pyright: ignore[reportUnnecessaryComparison]
            sys.stdout.flush()
        raise


def _end(text: str, code: int) -> NoReturn:
    click.echo(text, err=True)
    sys.exit(code)


def _drop_output() -> None:
    """Let nothing be written at the end that could not be written now."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _words(error: OSError) -> str:
    """Return what went wrong with a file, and what to do."""
    if isinstance(error, FileNotFoundError) and not error.filename:
        return "the directory that this runs in was deleted; change to another one"
    where = f"{error.filename}: " if error.filename else ""
    what = f"{where}{error.strerror or error}"
    if isinstance(error, PermissionError):
        return f"{what}; run this as the user that the sidecar runs as"
    return f"{what}; check the disk and its room" if error.errno in DISK else what
