"""Makes docs/commands.md of what the commands say about themselves.

python -m meterline_sidecar.cli.manual > docs/commands.md
"""

from collections.abc import Iterator
from typing import Final

import click

from meterline_sidecar.cli.main import COMMANDS, cli

WIDTH: Final = 88
INTRO: Final = """\
# Commands

Every command takes `--help`, and `--json` if it prints anything. Commands that ask the running sidecar find it by
`--url` or by the configuration, `--config`; set `METERLINE_TOKEN` if it needs a token. You can set `METERLINE_URL` and
`METERLINE_CONFIG` instead of the two options. On a terminal, tables have borders if [rich](https://rich.readthedocs.io) is
installed, and a table that is too wide is shown row by row. In a pipe, they are plain text. `NO_COLOR` turns colours off.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | failed; the message says what to do |
| 2 | the command line is invalid |
| 3 | a check ran and found something |
| 69 | no sidecar is running there |
| 78 | the configuration is invalid; every mistake is listed |

For completion in bash (or zsh or fish, in the same way):

```bash
eval "$(_METERLINE_COMPLETE=bash_source meterline)"
```

This page is generated from the code by `make docs`.
"""


def manual() -> str:
    """Return the page."""
    parts = [INTRO]
    root = click.Context(cli, info_name="meterline")
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None, name
        for context in _contexts(command, name, root):
            parts.append(f"\n## {context.command_path}\n\n```text\n")
            parts.append(f"{context.command.get_help(context)}\n```\n")
    return "".join(parts)


def _contexts(
    command: click.Command, name: str, parent: click.Context
) -> Iterator[click.Context]:
    """Yield a command, and those below it."""
    context = click.Context(
        command,
        parent,
        info_name=name,
        terminal_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None, below
            yield from _contexts(found, below, context)


if __name__ == "__main__":
    click.echo(manual(), nl=False)
