"""``meterline config``: what can be written into the configuration."""

import click

from meterline_sidecar.cli.output import show_json
from meterline_sidecar.config_reference import reference, schema


@click.group()
def command() -> None:
    """The reference of the configuration, and its schema for editors."""


@command.command("reference")
def _reference() -> None:
    """Print the reference of meterline.toml as Markdown."""
    click.echo(reference(), nl=False)


@command.command("schema")
def _schema() -> None:
    """Print the JSON Schema of meterline.toml, for editors that complete TOML."""
    show_json(schema())
