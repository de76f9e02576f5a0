"""Asks whoever typed the command before something is done that stays."""

import click

from meterline_sidecar.cli.exits import Interrupted


def ask(question: str) -> str | None:
    """Return what is typed in answer to a question; ``None``: nobody is there to ask.

    Not by click's own prompts, for which Ctrl-C and the end of the input are the same.

    Raises:
        Interrupted: Ctrl-C is no answer, and nothing is done yet.
    """
    try:
        click.echo(f"{question}: ", nl=False, err=True)
        return input()
    except EOFError:
        click.echo(err=True)
        return None
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; nothing was changed") from error
