"""Draws a table with rich. Imported only where rich is installed."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def draw(
    columns: Sequence[str], is_number: Sequence[bool], rows: Sequence[Sequence[str]]
) -> None:
    """Print rows under headings, without colours where NO_COLOR is set."""
    shown = Table()
    for name, is_right in zip(columns, is_number, strict=True):
        # Long texts are broken and no number is: nothing is left out for want of room.
        shown.add_column(
            name,
            justify="right" if is_right else "left",
            no_wrap=is_right,
            overflow="fold",
        )
    for row in rows:
        # As Text, because a route such as /v1/[id] is no markup.
        shown.add_row(*map(Text, row))
    Console().print(shown)
