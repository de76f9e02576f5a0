import pytest
from click.testing import CliRunner

from meterline_sidecar.cli.commands.correct import command

NOBODY = ("--url", "http://127.0.0.1:9")  # is not asked


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--event", "1"), "say why, with --reason"),
        (("--reason", "x", "--event", "1", "--set", "colour=red"), "it sets subject"),
        (("--reason", "x", "--event", "1", "--set", "subject"), "write it as NAME="),
        (
            ("--reason", "x", "--event", "1", "--at", "2026-11-03"),
            "--at goes with --add",
        ),
        (("--reason", "x", "--add", "tokens=1"), "--add needs --subject and --at"),
        (
            ("--reason", "x", "--add", "a=1", "--event", "1"),
            "--add cannot be combined with --event or --set",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anybody_is_asked(
    arguments: tuple[str, ...], text: str
) -> None:
    done = CliRunner().invoke(command, [*arguments, *NOBODY])

    assert done.exit_code == 2
    assert text in done.output
