"""What the command line can tell is wrong, before anybody is asked."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from meterline_sidecar.cli.main import cli

NOBODY = ("--url", "http://127.0.0.1:9")  # is not asked
NO_DAYS = (
    "2026-02-30",
    "2026-13-01",
    "2026-1-5",
    "20261105",
    "\uff12026-11-05",
    "",
    "now",
)
NO_TIMES = ("2026-02-30T00:00:00Z", "2026-11-22T25:00:00Z", "24:00", "", "now")
DAYS = (
    ("credit", "acme", "5.00", "--reason", "x", "--starts"),
    ("credit", "acme", "5.00", "--reason", "x", "--expires"),
    ("customers", "add", "acme", "--anchor"),
    ("customers", "change", "acme", "--from"),
    ("customers", "end", "acme", "--day"),
    ("explain", "acme", "--day"),
    ("invoice", "INV-0001", "--paid", "5.00", "--on"),
    ("meters", "rebuild", "api_calls", "--from"),
)
TIMES = (
    ("correct", "--reason", "x", "--start"),
    ("correct", "--reason", "x", "--at"),
    ("events", "--end"),
    ("reconcile", "--start"),
    ("usage", "--start"),
)


def refusal(*arguments: str) -> str:
    done = CliRunner().invoke(cli, [*arguments, *NOBODY])
    assert done.exit_code == 2, done.output
    return done.output


@pytest.mark.parametrize("day", NO_DAYS)
@pytest.mark.parametrize("command", DAYS)
def test_what_is_no_day_is_told_with_one_that_is(
    command: tuple[str, ...], day: str
) -> None:
    told = refusal(*command, day)

    assert f"Invalid value for '{command[-1]}'" in told
    assert f"no day is called `{day}`; write one such as 2026-11-23" in told


@pytest.mark.parametrize("command", ["audit", "events", "held list", "outbox list"])
def test_nothing_comes_after_less_than_0(command: str) -> None:
    assert "-1 is not in the range x>=0" in refusal(*command.split(), "--after", "-1")


@pytest.mark.parametrize("command", ["quote", "what-if"])
def test_the_day_of_a_version_is_read_likewise(command: str) -> None:
    done = CliRunner().invoke(cli, [command, "--at", "2026-02-30"])

    assert done.exit_code == 2
    assert "no day is called `2026-02-30`; write one such as 2026-11-23" in done.output


@pytest.mark.parametrize("time", NO_TIMES)
@pytest.mark.parametrize("command", TIMES)
def test_what_is_no_time_is_told_with_one_that_is(
    command: tuple[str, ...], time: str
) -> None:
    told = refusal(*command, time)

    assert f"Invalid value for '{command[-1]}'" in told
    assert f"`{time}` is not a time; write one such as 2026-11-22T08:00:00Z" in told


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("close --list held --customer acme", "--list cannot be combined with --cust"),
        ("close --list paid --period 2026-10", "--list cannot be combined with --per"),
        ("close --list grace --skip-grace", "--list cannot be combined with --skip-g"),
        ("close --list held --accept-gap", "--list cannot be combined with --accept-"),
        ("close --export x --dry-run --period 2026-10", "combined with --dry-run"),
        ("close --export x --customer acme --period 2026-10", "with --customer"),
        ("close --export x", "--export needs --period"),
        ("close --documents html", "--documents goes with --export"),
        ("correct --list --event 3", "--list cannot be combined with --event"),
        ("correct --list --customer acme", "--list cannot be combined with --customer"),
        ("correct --list --dry-run", "--list cannot be combined with --dry-run"),
        ("correct --revert 3 --reason x --set time=x", "combined with --set"),
        ("correct --revert 3 --reason x --add a=1", "combined with --add"),
        ("correct --revert 3 --reason x --event 1", "combined with --event"),
        ("correct --revert 3 --reason x --meter a", "combined with --meter"),
        ("credit acme --prepaid", "--prepaid goes with an AMOUNT"),
        ("credit acme --title x", "--title goes with an AMOUNT"),
        ("credit acme --priority 0", "--priority goes with an AMOUNT"),
        ("credit acme --end 3 --reason x --key y", "--key goes with an AMOUNT"),
        ("credit acme --reason x", "--reason goes with an AMOUNT or --end"),
        (
            "explain acme x --events csv --json",
            "--events csv cannot be combined with --j",
        ),
        ("invoice acme --period 2026-10 --finalize --paid 5", "combined with --finali"),
        (
            "invoice acme --period 2026-10 --paid 5",
            "--paid cannot be combined with --p",
        ),
        ("invoice acme --reason x", "--reason goes with one of --credit, --sent,"),
        ("invoices --csv x --json", "--csv cannot be combined with --json"),
        ("token create x --source y", "--source goes with --scope ingest"),
        ("held accept 3 --all --reason x", "an EVENT cannot be combined with --all"),
        ("held reject --all --customer a --reason x", "combined with --customer"),
        ("held accept --reason x", "say which events, by an EVENT, --customer, --p"),
    ],
)
def test_no_option_is_left_out_without_a_word(arguments: str, text: str) -> None:
    url = () if arguments.startswith("token") else NOBODY
    done = CliRunner().invoke(cli, [*arguments.split(), *url])

    assert done.exit_code == 2, done.output
    assert text in " ".join(done.output.split())


@pytest.mark.parametrize("number", ["0", "x", "1.5", "9" * 19, "", "\uff11"])
@pytest.mark.parametrize(
    "command",
    [
        ("correct", "--reason", "x", "--event"),
        ("correct", "--reason", "x", "--revert"),
        ("credit", "acme", "--reason", "x", "--end"),
        ("held", "accept", "--reason", "x"),
        ("late", "reject", "--reason", "x"),
        ("outbox", "show"),
    ],
)
def test_what_is_no_id_is_told(command: tuple[str, ...], number: str) -> None:
    told = refusal(*command, number)

    assert f"`{number}` is no id: these are whole numbers from 1" in told


@pytest.mark.parametrize(
    "command",
    [
        ("edges", "retire", "edge-1"),
        ("erase", "acct_1"),
        ("held", "accept", "--all"),
        ("late", "accept", "3"),
        ("outbox", "drop", "3"),
        ("correct", "--event", "3"),
        ("credit", "acme", "5"),
    ],
)
def test_an_empty_reason_is_none(command: tuple[str, ...]) -> None:
    told = refusal(*command, "--reason", " ")

    assert "Invalid value for '--reason': it is empty; say why" in told


@pytest.mark.parametrize(
    "command",
    [
        ("invoice", ""),
        ("statement", ""),
        ("customers", "show", ""),
        ("customers", "end", ""),
        ("outbox", "invoice", ""),
        ("import", "diff", ""),
        ("meters", "rebuild", ""),
        ("edges", "retire", "", "--reason", "x"),
        ("invoice", "", "--paid", "5"),
    ],
)
def test_an_empty_name_is_told(command: tuple[str, ...]) -> None:
    assert "a name or a number is empty" in refusal(*command)


def test_a_kind_of_event_that_there_is_not_is_told() -> None:
    assert "is not one of 'request', 'websocket', 'use'" in refusal(
        "events", "--kind", "http"
    )


def test_a_name_that_no_quantity_has_is_told() -> None:
    at = ("--subject", "k", "--at", "2026-11-03T10:00:00Z", "--reason", "x")

    told = refusal("correct", "--add", "a b=5", *at)

    assert "a quantity's name must be letters, digits and _ . : -" in told


@pytest.mark.parametrize(
    "arguments", [("",), ("x", "--scope", "ingest", "--source", "")]
)
def test_a_token_that_cannot_be_named_so_is_told(arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, ["token", "create", *arguments])

    assert done.exit_code == 2
    assert "has 1 to " in done.output


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0", "1e300", "x"])
def test_what_is_no_length_of_an_interval_is_told(seconds: str) -> None:
    assert "Invalid value for '--interval'" in refusal("top", "--interval", seconds)


def test_a_command_that_is_mistyped_is_not_taken_for_a_file() -> None:
    told = refusal("import", "comit", "backfill")

    assert "there is no file 'comit'; did you mean the command 'commit'?" in told


def test_a_word_for_help_is_answered_with_where_help_is() -> None:
    done = CliRunner().invoke(cli, ["help"])

    assert done.exit_code == 2
    assert "write `meterline --help`" in done.output


def valued(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield every option that needs a value, behind the words of its command."""
    context = click.Context(command)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from valued(inner, *path, name)
    for option in command.params:
        if (
            isinstance(option, click.Option)
            and not option.is_flag
            and not isinstance(option.flag_value, str)
        ):
            yield (*path, option.opts[0])


def test_no_option_is_taken_for_the_value_of_another() -> None:
    every = list(valued(cli))
    assert ("invoices", "--csv") in every
    assert len(every) > 100

    for given in every:
        done = CliRunner().invoke(cli, [*given, given[-1]])
        assert done.exit_code == 2, given
        assert f"{given[-1]} needs a value, and {given[-1]} is an option" in done.output


def test_what_looks_like_an_option_can_be_a_value() -> None:
    told = refusal("usage", "--start=--end")

    assert "needs a value" not in told
