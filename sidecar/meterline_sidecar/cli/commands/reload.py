"""``meterline reload``: the files again, without a restart."""

from pathlib import Path

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.consequences import tell_consequences
from meterline_sidecar.cli.exits import NoSidecar
from meterline_sidecar.cli.interruptible import run_interruptible
from meterline_sidecar.cli.options import clock_option, daemon_options
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.cli.rehearsed import clock_in, tell_clock
from meterline_sidecar.config.read import read_config
from meterline_sidecar.daemon.load import load_stopped
from meterline_sidecar.web.answers.reload import Reloaded


@click.command()
@click.option(
    "--into-final",
    metavar="REASON",
    help="Let changes reach into final periods; the reason is kept.",
)
@click.option("--dry-run", is_flag=True, help="Show what would change; change nothing.")
@clock_option(
    "If no sidecar runs, use the time in this file instead of this machine's, as"
    " `meterline run --clock` does.",
)
@daemon_options
def command(
    config_path: Path | None,
    url: str | None,
    is_json: bool,
    into_final: str | None,
    dry_run: bool,
    clock_path: Path | None,
) -> None:
    """Have the sidecar read its files again.

    Shows what changes, from when, and how that affects the amounts of periods. Files
    with mistakes change nothing. SIGHUP does the same. With --into-final, no sidecar
    needs to run, because it would refuse files that reach into final periods at its
    start.
    """
    try:
        with Client.find(url, config_path) as client:
            found = client.post(
                "/v1/reload",
                Reloaded,
                into_final=into_final,
                dry_run="true" if dry_run else None,
            )
    except NoSidecar:
        if into_final is None or url is not None or dry_run:
            raise
        config = read_config(config_path)
        clock = clock_in(clock_path)
        found = run_interruptible(load_stopped(config, reason=into_final, clock=clock))
        tell_clock(clock)
    if is_json:
        show_json(found)
        return
    for text in found.changes:
        click.echo(text)
    for key in found.needs_restart:
        click.secho(f"! {key}: takes effect at the next start", fg="yellow")
    tell_consequences(found.money)
    if not found.changes and not found.needs_restart:
        click.echo("nothing changed")
    elif dry_run:
        click.echo("\nnothing is changed yet")
