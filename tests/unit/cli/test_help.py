"""What commands say of themselves on a terminal."""

import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from meterline_sidecar.cli.commands import correct
from meterline_sidecar.cli.exits import NoSidecar
from meterline_sidecar.cli.main import COMMANDS, cli

WIDTH = 80
NOBODY = ("--url", "http://127.0.0.1:9")


def _contexts() -> Iterator[click.Context]:
    root = click.Context(cli, info_name="meterline", terminal_width=WIDTH)
    for name in COMMANDS:
        command = cli.get_command(root, name)
        assert command is not None
        context = click.Context(command, root, info_name=name, terminal_width=WIDTH)
        yield context
        if isinstance(command, click.Group):
            for below, found in command.commands.items():
                yield click.Context(
                    found, context, info_name=below, terminal_width=WIDTH
                )


CONTEXTS = {context.command_path: context for context in _contexts()}


@pytest.mark.parametrize("path", CONTEXTS)
def test_help_fits_a_terminal_and_cuts_nothing(path: str) -> None:
    lines = CONTEXTS[path].get_help().splitlines()

    assert [line for line in lines if len(line) > WIDTH] == []
    assert [
        line for line in lines if line.endswith("...") and "Usage:" not in line
    ] == []


@pytest.mark.parametrize("path", CONTEXTS)
def test_each_option_says_what_it_is_for_and_what_it_takes(path: str) -> None:
    context = CONTEXTS[path]
    for param in context.command.get_params(context):
        if not isinstance(param, click.Option):
            continue
        assert (param.help or "").endswith("."), param.name
        record = param.get_help_record(context)
        assert record is not None
        written = record[0]
        for type_of_program in ("RANGE", "INTEGER", "FLOAT", "%"):
            assert type_of_program not in written, written


def test_examples_in_the_help_are_taken_as_they_stand() -> None:
    text = (correct.command.help or "").partition("\b")[2].replace("\\\n", " ")
    examples = [line.strip() for line in text.splitlines() if line.strip()]

    assert len(examples) == 5
    for example in examples:
        program, *arguments = shlex.split(example)
        done = CliRunner().invoke(cli, [*arguments, *NOBODY])
        assert program == "meterline"
        assert isinstance(done.exception, NoSidecar), example
