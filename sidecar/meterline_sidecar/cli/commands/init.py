"""``meterline init``: a first configuration to change."""

import os
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from meterline.settings import STATE_VARIABLE, SYSTEM_DIR
from meterline_sidecar.daemon.ports import PORT, free_port
from meterline_sidecar.errors import MeterlineError

NAMES: Final = ("meterline.toml", "pricing.toml")
STATE: Final = "state"
HOST: Final = "127.0.0.1"
PLACES: Final = re.compile(r"^(?=(?:socket|database|spool_dir) = )", re.MULTILINE)
"""What the template says about where things are."""


@click.command()
@click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), default=Path()
)
def command(directory: Path) -> None:
    """Write a first meterline.toml and pricing.toml.

    Into DIRECTORY, or this one. Asks nothing and overwrites nothing. The ledger goes
    next to them, unless this host has a shared place: METERLINE_STATE_DIR or
    /var/lib/meterline. The HTTP API gets port 8270, or the next free one.
    """
    paths = {name: directory / name for name in NAMES}
    if found := [str(path) for path in paths.values() if path.exists()]:
        exist = "exists" if len(found) == 1 else "exist"
        raise MeterlineError(
            f"{' and '.join(found)} {exist} already, and nothing was written;"
            " `meterline init DIRECTORY` writes to another place"
        )
    templates = files("meterline_sidecar.cli") / "templates"
    has_state = bool(os.environ.get(STATE_VARIABLE)) or Path(SYSTEM_DIR).is_dir()
    http = f"{HOST}:{free_port(HOST, PORT)}"
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                text = (templates / name).read_text(encoding="utf-8")
                text = text.replace(f"{HOST}:{PORT}", http)
                file.write(PLACES.sub("# ", text) if has_state else text)
    except OSError as error:
        for path in made:  # half of them would be in the way of the next try
            path.unlink(missing_ok=True)
        raise MeterlineError(
            f"{error.filename or directory}: {error.strerror}; choose a directory that"
            " can be written to"
        ) from error
    click.echo(f"wrote {' and '.join(map(str, paths.values()))}; next:")
    if http != f"{HOST}:{PORT}":
        click.echo(f"  (port {PORT} is in use here, so the HTTP API gets {http})")
    flag = (
        "" if directory == Path() else f" --config {shlex.quote(str(paths[NAMES[0]]))}"
    )
    for name in ("check", "run"):
        click.echo(f"  meterline {name}{flag}")
    if not has_state:
        state = shlex.quote(str((directory / STATE).absolute()))
        click.echo("and where the app runs, so that it finds this sidecar:")
        click.echo(f"  export {STATE_VARIABLE}={state}")
