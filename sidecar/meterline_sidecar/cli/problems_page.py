"""Makes docs/problems.md of the list of problems.

python -m meterline_sidecar.cli.problems_page > docs/problems.md
"""

import click

from meterline_sidecar.problems.catalogue import markdown_page

if __name__ == "__main__":
    click.echo(markdown_page(), nl=False)
