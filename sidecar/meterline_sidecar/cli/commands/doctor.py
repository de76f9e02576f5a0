"""``meterline doctor``: looks at everything that could be wrong, and what to do."""

import sys
from pathlib import Path
from typing import Final

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import EXIT_FOUND, NoSidecar
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.clock import SystemClock
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon.doctor import Check, Verdict, examine, examine_archive
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store.open import open_reader
from meterline_sidecar.web.answers.status import Status

MARKS: Final[dict[Verdict, tuple[str, str]]] = {
    "ok": ("ok  ", "green"),
    "info": ("note", "cyan"),
    "warning": ("WARN", "yellow"),
    "error": ("FAIL", "red"),
}


@click.command()
@daemon_options
def command(config_path: Path | None, url: str | None, is_json: bool) -> None:
    """Look for anything that could be wrong, and say what to do about it.

    Checks the sidecar, its files and their modes, the disk, the clock, SQLite, spools,
    gaps, backups and the files of the archive. Exits with 3 while anything needs a person: a warning or an error.
    docs/problems.md explains each code.
    """
    config = read_config(config_path)
    status = _status(config_path, url)
    checks = examine(config, clock=SystemClock(), status=status)
    if status is None:  # nobody who has it open says how it is
        checks += run_interruptible(_ledger(config))
    checks += run_interruptible(examine_archive(config, status))
    if is_json:
        show_json(checks)
    else:
        for check in checks:
            mark, color = MARKS[check.verdict]
            code = f" [{check.code}]" if check.code else ""
            shown = click.style(mark, fg=color)
            click.echo(f"{shown}  {check.name}: {check.detail}{code}")
            if check.advice:
                click.echo(f"      -> {check.advice}")
    if any(check.needs_person for check in checks):
        sys.exit(EXIT_FOUND)


async def _ledger(config: Config) -> list[Check]:
    """Check that a ledger in a file, if there is one, can be read by this version."""
    path = config.sidecar.database
    if config.server is not None or not path.exists() or not path.stat().st_size:
        return []
    try:
        await (await open_reader(path)).close()
    except MeterlineError as error:
        detail, _, advice = str(error).partition("; ")
        return [Check("ledger", "error", detail, advice)]
    return [Check("ledger", "ok", f"{path} can be read")]


def _status(config_path: Path | None, url: str | None) -> Status | None:
    """Return what ``/status`` answers, or ``None`` when nobody does."""
    with Client.find(url, config_path) as client:
        try:
            return client.get("/status", Status)
        except NoSidecar:
            return None
