"""``meterline check``: everything that is wrong with the configuration, at once."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from meterline_pricing import Problem, TestFailure, run_tests
from meterline_pricing.errors import unknown
from meterline_sidecar.cli.against_ledger import (
    CannotCompare,
    Compared,
    agreed_with,
    billed_twice_by,
    compare,
)
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.exits import EXIT_CONFIG, EXIT_FOUND
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import CLOCK, CONFIG, JSON
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.rehearsed import clock_for, tell_clock
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.advice import advice
from meterline_sidecar.config.prices import shown
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.fleet.tls import unreadable
from meterline_sidecar.problems.problem import n_of


@click.command()
@CONFIG
@CLOCK
@JSON
def command(config_path: Path | None, clock_path: Path | None, is_json: bool) -> None:
    """Report every problem in meterline.toml and pricing.toml.

    Also runs the plans' examples ([[plan.test]]), points out anything odd, and shows
    how loading the files would change the terms in the ledger, and from when. Exits
    with 78 if the files are wrong or would be refused, and with 3 if an example gives
    another result.
    """
    try:
        config = read_config(config_path)
    except ConfigError as error:
        if not is_json:
            raise
        _show(problems=error.problems)
        sys.exit(EXIT_CONFIG)
    clock = clock_for(config, clock_path)
    failures = run_tests(config.catalogue.plans)
    odd = [
        *advice(config, environment=os.environ),
        *unreadable(config.centre, config.sidecar.role),
    ]
    compared: Compared | None = None
    try:
        compared = run_interruptible(compare(config, clock=clock))
        odd += run_interruptible(_alerts_of_nobody(config))
        odd += run_interruptible(billed_twice_by(config, clock=clock))
    except CannotCompare as error:
        odd.append(str(error))
    if is_json:
        _show(failures=failures, advice=odd, compared=compared, clock=clock)
    else:
        _tell(config, failures, odd, compared)
        tell_clock(clock)
    if compared is not None and compared.refused:
        sys.exit(EXIT_CONFIG)
    if failures:
        sys.exit(EXIT_FOUND)


async def _alerts_of_nobody(config: Config) -> list[str]:
    """Return the alerts about customers whom neither the files nor the ledger know."""
    known = {customer.id for customer in config.customers}
    named = [rule for rule in config.alert_rules if rule.customer is not None]
    if any(rule.customer not in known for rule in named):
        known |= await agreed_with(config)
    return [
        f"alert {rule.name}: {unknown('customer', rule.customer, known)}"
        for rule in named
        if rule.customer is not None and rule.customer not in known
    ]


def _show(
    *,
    problems: tuple[Problem, ...] = (),
    failures: tuple[TestFailure, ...] = (),
    advice: Sequence[str] = (),
    compared: Compared | None = None,
    clock: Clock | None = None,
) -> None:
    refused = () if compared is None else compared.refused
    show_json(
        {
            "ok": not problems and not failures and not refused,
            "problems": problems,
            "failures": failures,
            "advice": advice,
            "changes": () if compared is None else compared.changes,
            "refused": refused,
            "money": None if compared is None else compared.money,
            "clock": None if clock is None else clock.rehearsal,
        }
    )


def _tell(
    config: Config,
    failures: tuple[TestFailure, ...],
    odd: Sequence[str],
    compared: Compared | None,
) -> None:
    if config.file is None:
        click.echo("no meterline.toml here: defaults apply, and nothing is metered")
    else:
        click.echo(
            f"{shown(config.file)}: {n_of(len(config.meters), 'meter')},"
            f" {n_of(len(config.customers), 'customer')}"
        )
    prices = config.sidecar.pricing
    if prices is None:
        click.echo("no pricing.toml: usage is counted but not priced")
    else:
        plans = config.catalogue.plans
        n_tests = sum(len(plan.tests) for plan in plans)
        click.echo(
            f"{shown(prices)}: {n_of(len(plans), 'plan version')},"
            f" {n_tests - len(failures)} of {n_of(n_tests, 'example')} as written"
        )
        for failure in failures:
            click.echo(f"{shown(prices)}:{failure.line}: {failure}", err=True)
    for text in odd:
        click.secho(f"! {text}", fg="yellow")
    if compared is not None:
        for text in compared.lines():
            click.echo(text)
        tell_consequences(compared.money)
    refused = () if compared is None else compared.refused
    for text in refused:
        click.secho(text, fg="red", err=True)
    if not failures and not odd and not refused:
        click.echo("all is well")
