"""Prints a table with rich. Imported only where rich is installed."""

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from meterline_sidecar.cli.output import Table


def show(table: Table) -> None:
    """Print ``table``; without colours where NO_COLOR is set."""
    shown = RichTable()
    for name, is_number in zip(table.columns, table.is_number, strict=True):
        shown.add_column(name, justify="right" if is_number else "left")
    for row in table.rows:
        # As Text, because a route such as /v1/[id] is no markup.
        shown.add_row(*map(Text, row))
    Console().print(shown)
