"""Writes the tables that are made of the code into a page of the documentation.

python -m meterline_sidecar.cli.doc_tables docs/stripe.md
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from meterline_sidecar.ledger import coverage
from meterline_sidecar.stripe import states

TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "coverage": coverage.markdown_table,
    "states": states.markdown_table,
}
"""By the name that stands in the marks around it."""


def with_tables(page: str) -> str:
    """Return a page with each table of today between its two marks.

    Raises:
        ValueError: the page has the marks of no table.
    """
    found = 0
    for name, made in TABLES.items():
        before, begin, rest = page.partition(f"<!-- begin {name}: ")
        mark, _, rest = rest.partition("\n")
        _, end, after = rest.partition(f"<!-- end {name} -->\n")
        if begin and end:
            found += 1
            page = f"{before}{begin}{mark}\n\n{made()}\n{end}{after}"
    if not found:
        marks = " or ".join(f"`begin {name}`" for name in TABLES)
        raise ValueError(f"the page has no mark {marks}")
    return page


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(with_tables(path.read_text()))
