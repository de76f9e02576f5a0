"""``meterline backups``: which copies of the ledger were made, and where they are."""

from pathlib import Path
from typing import Final

import click
import msgspec

from meterline_sidecar.cli.options import CONFIG, JSON
from meterline_sidecar.cli.output import quantity, show_json
from meterline_sidecar.cli.table import Table, show
from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.config.read import read_settings
from meterline_sidecar.ledger.copies import backups
from meterline_sidecar.problems.problem import n_of

DIGEST_CHARS: Final = 16  # of 64; all of them with --json


@click.command()
@CONFIG
@JSON
def command(config_path: Path | None, is_json: bool) -> None:
    """List the backups of this ledger, the oldest first."""
    found = backups(read_settings(config_path).sidecar.database)
    is_here = [Path(one.file).exists() for one in found]
    if is_json:
        shown = [
            {**msgspec.to_builtins(one), "is_here": here}
            for one, here in zip(found, is_here, strict=True)
        ]
        show_json({"backups": shown})
        return
    table = Table("made", "file", ">bytes", ">events", "sha-256", "is here")
    for one, here in zip(found, is_here, strict=True):
        table.add(
            format_time_ms(one.finished_ms),
            one.file,
            quantity(one.file_bytes),
            quantity(one.events),
            one.digest[:DIGEST_CHARS],
            "yes" if here else "no",
        )
    if found:
        show(table)
    click.echo(f"{n_of(len(found), 'backup')} made by `meterline backup`")
