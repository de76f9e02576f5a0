"""``meterline stripe``: make the meters, products and prices that are configured."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import click

from meterline_sidecar.cli.against_ledger import agreed_of, bound_account
from meterline_sidecar.cli.ask import ask
from meterline_sidecar.cli.exits import EXIT_FOUND
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CLOCK, CONFIG, JSON
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.rehearsed import clock_for, tell_clock
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon.assemble_stripe import open_api
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.stripe.account import other_account
from meterline_sidecar.stripe.provision.apply import Provisioner
from meterline_sidecar.stripe.provision.plan import Provision

MARKS = {"create": "+", "replace": "~", "reactivate": "^"}


class ToldOnce:
    """Says it once, before anything is shown or made, where a key is of another account.

    It may be meant so: a sandbox is provisioned by the same files.
    """

    def __init__(self, known: str | None) -> None:
        self._known = known

    async def refusal(
        self, *, is_live: bool, account: str | None, is_telling: bool
    ) -> None:
        """Refuse nothing."""
        difference = other_account(self._known, is_live=is_live, account=account)
        if difference is not None and not is_telling:
            click.secho(f"! {difference}", fg="yellow", err=True)


@click.group()
def command() -> None:
    """Show or create meters, products and prices at Stripe."""


@command.command()
@CONFIG
@CLOCK
@JSON
def plan(config_path: Path | None, clock_path: Path | None, is_json: bool) -> None:
    """Show what is missing at Stripe; change nothing.

    Uses the plans, prices and meters in the ledger, or those in the files if there is
    no ledger yet.

    Exits with 3 if there is a problem that `apply` cannot solve.
    """
    config = read_config(config_path)
    clock = clock_for(config, clock_path)
    found = run_interruptible(_run(config, clock, applies=False))
    _tell(found, is_json=is_json)


@command.command()
@CONFIG
@CLOCK
@JSON
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def apply(
    config_path: Path | None, clock_path: Path | None, is_json: bool, yes: bool
) -> None:
    """Show what is missing at Stripe, then create it.

    On a terminal, asks before it changes anything, unless --yes is given.
    """
    config = read_config(config_path)
    clock = clock_for(config, clock_path)
    found = run_interruptible(_run(config, clock, applies=False))
    if not is_json:
        _tell(found, is_json=False)
    if found.steps and not found.problems:
        if sys.stdin.isatty() and not yes and not _is_wanted():
            raise MeterlineError("nothing was changed; answer y to make these changes")
        run_interruptible(_run(config, clock, applies=True))
    if is_json:
        _tell(found, is_json=True)
    elif found.steps:
        click.echo("done")


def _is_wanted() -> bool:
    answer = ask("Make these changes? [y/N]")
    return answer is not None and answer.strip().lower() in ("y", "yes")


async def _run(config: Config, clock: Clock, *, applies: bool) -> Provision:
    config, waiting = await agreed_of(config, clock=clock)
    if not applies:
        tell_clock(clock)
        for text in waiting:
            click.echo(f"not agreed, so not at Stripe either: {text}", err=True)
    accounts = ToldOnce(await bound_account(config))
    api = open_api(config, environ=os.environ.copy(), accounts=accounts)
    try:
        provisioner = Provisioner(api, config, clock=clock)
        found = await provisioner.plan()
        if applies:
            await provisioner.apply(found)
        return found
    finally:
        await api.close()


def _tell(found: Provision, *, is_json: bool) -> None:
    """Print a plan; exit with 3 if there are problems."""
    if is_json:
        show_json(found)
    else:
        for step in found.steps:
            click.echo(f"{MARKS[step.verb]} {step.verb} {step.kind} {step.name}")
            for line in _difference(_lines(step.former), _lines(step.details)):
                click.echo(f"    {line}")
        for problem in found.problems:
            click.secho(f"! {problem}", fg="yellow")
        n_unchanged = len(found.unchanged)
        click.echo(f"{len(found.steps)} to change, {n_unchanged} unchanged")
    if found.problems:
        if not is_json:
            click.echo("nothing is changed while there are problems", err=True)
        sys.exit(EXIT_FOUND)


def _difference(before: list[str], after: list[str]) -> Iterator[str]:
    """Yield what goes and what comes; all of ``after`` where nothing was before."""
    if not before:
        yield from (f"  {line}" for line in after)
        return
    yield from (f"- {line}" for line in before if line not in after)
    yield from (f"+ {line}" for line in after if line not in before)


def _lines(fields: dict[str, object]) -> list[str]:
    """Return fields, one to a line; tiers a tier to a line."""
    lines: list[str] = []
    for name, value in fields.items():
        parts = cast("list[object]", value) if isinstance(value, list) else [value]
        lines += [f"{name}: {_text(part)}" for part in parts]
    return lines


def _text(value: object) -> str:
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return ", ".join(f"{name} {part}" for name, part in fields.items())
    return str(value)
