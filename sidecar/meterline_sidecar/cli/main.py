"""The command group, and the exit codes that every command keeps to."""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Final

import click

import meterline
from meterline_sidecar.clock import Clock, FileClock, SystemClock
from meterline_sidecar.config_file import read_config
from meterline_sidecar.daemon import run as run_daemon
from meterline_sidecar.errors import ConfigError, MeterlineError

EXIT_FAILED: Final = 1
EXIT_FOUND: Final = 3
EXIT_UNREACHABLE: Final = 69  # EX_UNAVAILABLE of sysexits.h
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h

CONFIG: Final = click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="METERLINE_CONFIG",
    help="The configuration; meterline.toml of this directory by default.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(meterline.__version__, prog_name="meterline")
def cli() -> None:
    """Meter every API request, price it, and report it to Stripe."""


@cli.command()
@CONFIG
@click.option(
    "--clock",
    "clock_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rehearse: take the time from this file (a time, or an offset in seconds).",
)
def run(config_path: Path | None, clock_path: Path | None) -> None:
    """Run the sidecar until it is told to stop (SIGTERM, Ctrl-C)."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    clock: Clock = SystemClock() if clock_path is None else FileClock(clock_path)
    asyncio.run(run_daemon(read_config(config_path), clock=clock))


def main() -> None:
    """Run the command line and turn our errors into a line and an exit code."""
    try:
        cli()
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_CONFIG)
    except MeterlineError as error:
        click.echo(f"meterline: {error}", err=True)
        sys.exit(EXIT_FAILED)
