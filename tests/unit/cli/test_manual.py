"""The page of all commands: what many share is said once."""

import click

from meterline_sidecar.cli.main import cli
from meterline_sidecar.cli.manual import manual


def test_what_many_commands_take_is_explained_once() -> None:
    page = manual()

    for option in ("--config FILE", "--url URL", "--json   ", "-h, --help"):
        assert page.count(f"\n{option}") == 1, option
        assert f"\n  {option}" not in page, option
    status = page.partition("## meterline status\n")[2].partition("\n## ")[0]
    assert status.endswith("\nShared options: --config, --url, --json\n```\n")
    check = page.partition("## meterline check\n")[2].partition("\n## ")[0]
    assert "--clock FILE" in check
    init = page.partition("## meterline init\n")[2].partition("\n## ")[0]
    assert "options" not in init.partition("[OPTIONS]")[2].lower()


def test_making_the_page_hides_no_option_from_who_asks_for_help() -> None:
    manual()

    command = cli.get_command(click.Context(cli), "status")
    assert command is not None
    assert not any(getattr(param, "hidden", False) for param in command.params)
