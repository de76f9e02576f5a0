"""``meterline config``: what can be written into the configuration."""

import click

from meterline_pricing import json_schema
from meterline_sidecar.cli.output import show_json
from meterline_sidecar.config.reference import price_reference, reference, schema


@click.group()
def command() -> None:
    """Print the reference of the configuration, or its schema."""


@command.command("reference")
@click.option("--pricing", is_flag=True, help="For pricing.toml instead.")
def _reference(pricing: bool) -> None:
    """Print the reference of meterline.toml as Markdown."""
    click.echo(price_reference() if pricing else reference(), nl=False)


@command.command("schema")
@click.option("--pricing", is_flag=True, help="For pricing.toml instead.")
def _schema(pricing: bool) -> None:
    """Print the JSON Schema of meterline.toml, for editors of TOML."""
    show_json(json_schema() if pricing else schema())
