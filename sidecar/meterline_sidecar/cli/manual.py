"""Makes docs/commands.md of what the commands say about themselves.

python -m meterline_sidecar.cli.manual > docs/commands.md
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import click

from meterline_sidecar.cli.main import COMMANDS, cli

WIDTH: Final = 88
SHARED_FROM: Final = 10
"""An option of so many commands that says the same on each is explained once."""
HELP: Final = "--help"
Shared = Mapping[str, click.Option]
INTRO: Final = """\
# Commands

Commands that ask the running sidecar find it by `--url` or by the configuration, `--config`; set `METERLINE_TOKEN` if
it needs a token. You can set `METERLINE_URL` and `METERLINE_CONFIG` instead of the two options. On a terminal, tables
have borders if [rich](https://rich.readthedocs.io) is installed, and a table that is too wide is shown row by row. In a
pipe, they are plain text. `NO_COLOR` and `TERM=dumb` turn colours off.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | failed, or refused by the sidecar; the message says what to do |
| 2 | the command line is invalid: an unknown option, a day that does not exist, options that exclude each other |
| 3 | a check ran and found something |
| 69 | no sidecar is running there |
| 78 | the configuration is invalid; every mistake is listed |
| 130 | interrupted by Ctrl-C; nothing is left half-written |

For completion in bash (or zsh or fish, in the same way):

```bash
eval "$(_METERLINE_COMPLETE=bash_source meterline)"
```

This page is generated from the code by `make docs`.

## Shared options

Every command takes `--help`, and most take some of the others. Below, a command only names those that it takes.

```text
{shared}
```
"""


def manual() -> str:
    """Return the page."""
    root = click.Context(cli, info_name="meterline")
    contexts: list[click.Context] = []
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None, name
        contexts += _contexts(command, name, root)
    shared = _shared(contexts)
    parts = [INTRO.replace("{shared}", _explained(shared, root))]
    for context in contexts:
        parts.append(f"\n## {context.command_path}\n\n```text\n")
        parts.append(f"{_help(context, shared)}\n```\n")
    return "".join(parts)


def _shared(contexts: list[click.Context]) -> Shared:
    """Return the options that many commands take, by what is said of each."""
    options = [option for context in contexts for option in _options(context)]
    often = Counter(map(_said, options))
    return {_said(o): o for o in options if often[_said(o)] >= SHARED_FROM}


def _options(context: click.Context) -> list[click.Option]:
    found = context.command.get_params(context)
    return [option for option in found if isinstance(option, click.Option)]


def _said(option: click.Option) -> str:
    return f"{option.opts} {option.metavar} {option.help}"


def _explained(shared: Shared, root: click.Context) -> str:
    """Return what each shared option is for, as the help of a command says it."""
    records = [option.get_help_record(root) for option in shared.values()]
    out = click.HelpFormatter(width=WIDTH)
    out.write_dl([record for record in records if record is not None])
    return out.getvalue().rstrip()


def _help(context: click.Context, shared: Shared) -> str:
    """Return the help of a command; of shared options only their names."""
    named = [option for option in _options(context) if _said(option) in shared]
    for option in named:
        option.hidden = True
    text = context.command.get_help(context)
    for option in named:
        option.hidden = False
    names = [option.opts[-1] for option in named if option.opts[-1] != HELP]
    return f"{text}\n\nShared options: {', '.join(names)}" if names else text


def _contexts(
    command: click.Command, name: str, parent: click.Context
) -> Iterator[click.Context]:
    """Yield a command, and those below it."""
    context = click.Context(
        command,
        parent,
        info_name=name,
        terminal_width=WIDTH,
        help_option_names=["-h", HELP],
    )
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None, below
            yield from _contexts(found, below, context)


if __name__ == "__main__":
    click.echo(manual(), nl=False)
