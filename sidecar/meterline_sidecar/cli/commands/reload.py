"""``meterline reload``: the files again, without a restart."""

from pathlib import Path

import click

from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.options import daemon_options
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.web.answers.reload import Reloaded


@click.command()
@click.option(
    "--into-final",
    metavar="REASON",
    help="Let changes reach into periods that are final; the reason is kept.",
)
@daemon_options
def command(
    config_path: Path | None, url: str | None, is_json: bool, into_final: str | None
) -> None:
    """Have the sidecar read its files again.

    Mistakes change nothing. `meterline check` shows what would change, and SIGHUP does
    the same as this command.
    """
    with Client.find(url, config_path) as client:
        found = client.post("/v1/reload", Reloaded, into_final=into_final)
    if is_json:
        show_json(found)
        return
    for text in found.changes:
        click.echo(text)
    for key in found.needs_restart:
        click.secho(f"! {key}: holds from the next start on", fg="yellow")
    if not found.changes and not found.needs_restart:
        click.echo("nothing changed")
