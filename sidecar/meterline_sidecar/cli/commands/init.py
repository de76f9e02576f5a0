"""``meterline init``: a first configuration to change."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from meterline_sidecar.errors import MeterlineError

NAMES: Final = ("meterline.toml", "pricing.toml")


@click.command()
@click.argument(
    "directory", type=click.Path(path_type=Path, file_okay=False), default=Path()
)
def command(directory: Path) -> None:
    """Write a first meterline.toml and pricing.toml.

    Into DIRECTORY, or here. Asks nothing and overwrites nothing.
    """
    paths = {name: directory / name for name in NAMES}
    if found := [str(path) for path in paths.values() if path.exists()]:
        raise MeterlineError(
            f"{' and '.join(found)}: exists already, and nothing was written;"
            " `meterline init DIRECTORY` writes to another place"
        )
    templates = files("meterline_sidecar.cli") / "templates"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            with path.open("x", encoding="utf-8") as file:
                file.write((templates / name).read_text(encoding="utf-8"))
    except OSError as error:
        raise MeterlineError(
            f"{error.filename}: {error.strerror}; choose a directory that can be"
            " written to"
        ) from error
    click.echo(f"wrote {' and '.join(map(str, paths.values()))}; next:")
    flag = "" if directory == Path() else f" --config {paths[NAMES[0]]}"
    for name in ("check", "run"):
        click.echo(f"  meterline {name}{flag}")
