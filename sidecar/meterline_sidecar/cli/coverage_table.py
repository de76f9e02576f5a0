"""Writes the table of what a verification covers into docs/backup.md.

python -m meterline_sidecar.cli.coverage_table docs/backup.md
"""

import sys
from pathlib import Path
from typing import Final

from meterline_sidecar.ledger.coverage import markdown_table

BEGIN: Final = "<!-- begin coverage: made of ledger/coverage.py by `make docs` -->\n"
END: Final = "<!-- end coverage -->\n"


def with_table(page: str) -> str:
    """Return a page with the table of today between the two marks."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN.strip()} ... {END.strip()}")
    return f"{before}{BEGIN}\n{markdown_table()}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_table(path.read_text()))
