"""``meterline check``: everything that is wrong with the configuration, at once."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from meterline_pricing import Problem, TestFailure, run_tests
from meterline_sidecar.cli.exits import EXIT_CONFIG, EXIT_FOUND
from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.config.advice import advice
from meterline_sidecar.config.prices import shown
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import ConfigError


@click.command()
@CONFIG
@JSON
def command(config_path: Path | None, is_json: bool) -> None:
    """Report every problem in meterline.toml and pricing.toml.

    Runs the examples of the plans ([[plan.test]]) too, and points out what is odd. Exits
    with 78 when the files are wrong, with 3 when an example comes out differently.
    """
    try:
        config = read_config(config_path)
    except ConfigError as error:
        if not is_json:
            raise
        _show(problems=error.problems)
        sys.exit(EXIT_CONFIG)
    failures = run_tests(config.catalogue.plans)
    odd = list(advice(config, environment=os.environ))
    if is_json:
        _show(failures=failures, advice=odd)
    else:
        _tell(config, failures, odd)
    if failures:
        sys.exit(EXIT_FOUND)


def _show(
    *,
    problems: tuple[Problem, ...] = (),
    failures: tuple[TestFailure, ...] = (),
    advice: Sequence[str] = (),
) -> None:
    show_json(
        {
            "ok": not problems and not failures,
            "problems": problems,
            "failures": failures,
            "advice": advice,
        }
    )


def _tell(
    config: Config, failures: tuple[TestFailure, ...], odd: Sequence[str]
) -> None:
    if config.file is None:
        click.echo("no meterline.toml here: every default holds, nothing is metered")
    else:
        click.echo(
            f"{shown(config.file)}: {_count(len(config.meters), 'meter')},"
            f" {_count(len(config.customers), 'customer')}"
        )
    prices = config.sidecar.pricing
    if prices is None:
        click.echo("no pricing.toml: usage is counted, and costs nothing")
    else:
        plans = config.catalogue.plans
        n_tests = sum(len(plan.tests) for plan in plans)
        click.echo(
            f"{shown(prices)}: {_count(len(plans), 'plan version')},"
            f" {n_tests - len(failures)} of {_count(n_tests, 'example')} as written"
        )
        for failure in failures:
            click.echo(f"{shown(prices)}:{failure.line}: {failure}", err=True)
    for text in odd:
        click.secho(f"! {text}", fg="yellow")
    if not failures and not odd:
        click.echo("all is well")


def _count(n_things: int, name: str) -> str:
    return f"{n_things} {name}" if n_things == 1 else f"{n_things} {name}s"
