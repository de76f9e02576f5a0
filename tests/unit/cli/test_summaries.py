import click
import pytest

from meterline_sidecar.cli.main import COMMANDS, cli


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_first_line_of_the_commands_own_help(
    name: str,
) -> None:
    command = cli.get_command(click.Context(cli), name)

    assert command is not None
    assert (command.help or "").partition("\n")[0] == COMMANDS[name]
