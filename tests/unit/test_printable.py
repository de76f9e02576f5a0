"""What others call themselves, on its way to a person."""

import io
import json
import logging
import sys
import time

import click
import pytest

from meterline_sidecar.cli.output import show_json
from meterline_sidecar.printable import (
    PrintableFormatter,
    PrintableStream,
    csv_cell,
    in_order,
    printable,
    printable_lines,
)

TITLE = "\x1b]0;owned\x07"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("acct_1 /v1/[id]", "acct_1 /v1/[id]"),
        ("Zoë 東京 ✓ 𐍈", "Zoë 東京 ✓ 𐍈"),
        (TITLE, "\\u001b]0;owned\\u0007"),
        ("a\r\nb\tc", "a\\u000d\\u000ab\\u0009c"),
        ("\x9b2J", "\\u009b2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\udb40\\udc41"),
    ],
)
def test_what_does_not_print_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert json.loads(f'"{printable(text)}"') == text


def test_lines_stay_lines_where_there_are_several() -> None:
    assert printable_lines("a\n\tb\r\x1b[m") == "a\n\tb\\u000d\\u001b[m"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert csv_cell(text)[0] in "'\\"
    assert csv_cell("calls") == "calls"


def test_a_terminal_shows_our_styles_and_nobody_elses() -> None:
    terminal, pipe = Terminal(), io.StringIO()
    ours = "\x1b[31m! lost\x1b[0m\n"
    theirs = f"{TITLE}\x1b[2J\x1b[8m\r[\x1b[H"

    for stream in (terminal, pipe):
        for text in (ours, theirs, "\r[##..] 2", "\x1b[H\x1b[J"):
            PrintableStream(stream).write(text)

    shown = terminal.getvalue()
    assert shown.startswith(ours)
    assert shown.endswith("\r[##..] 2\x1b[H\x1b[J")
    assert printable(theirs) in shown
    assert "\x1b" not in pipe.getvalue()
    assert PrintableStream(terminal).isatty()


def test_what_is_printed_as_json_passes_by_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", PrintableStream(terminal))
    theirs = {"subject": "acme_\u202e\x9b2J\u2028x"}

    show_json(theirs)

    shown = terminal.getvalue()
    assert shown.removesuffix("\n").replace("\n", "").isprintable()
    assert json.loads(shown) == theirs  # and a program gets what it was


def _fail(text: str) -> None:
    raise ValueError(text)


def test_a_line_of_the_log_is_one_line_whoever_wrote_it() -> None:
    formatter = PrintableFormatter("%(levelname)s %(message)s")
    record = logging.makeLogRecord({})
    try:
        _fail("bad\n2026-01-01 ERROR made up\x1b[2J")
    except ValueError:
        record = logging.LogRecord(
            *("m", logging.ERROR, "m", 1, "refused %s", ("x\nERROR no",)),
            exc_info=sys.exc_info(),
        )

    first, *others = formatter.format(record).splitlines()

    assert first == "ERROR refused x\\u000aERROR no"
    assert all(line.startswith("  ") for line in others)
    assert not any("\x1b" in line for line in others)


def test_the_times_of_log_lines_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/St_Johns")
    time.tzset()
    try:
        record = logging.makeLogRecord({"created": 1_793_966_400.25, "msecs": 250})
        line = PrintableFormatter("%(asctime)s").format(record)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert line == "2026-11-06T12:00:00.250Z"


def test_no_name_turns_the_amounts_behind_it() -> None:
    assert in_order("10% of €5 \u202eevil\u2066 = €0.50") == "10% of €5 evil = €0.50"
    assert in_order("\u200fشركة") == "\u200fشركة"  # a mark of where it stands alone


def test_a_stream_of_few_letters_writes_the_others_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = io.BytesIO()
    stream = PrintableStream(io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setattr(sys, "stdout", stream)

    click.echo(f"Žofie 𐍈 {TITLE}")

    shown = raw.getvalue().decode()
    assert shown == f"\\u017dofie \\ud800\\udf48 {printable(TITLE)}\n"
    assert json.loads(f'"{shown[:-1]}"') == f"Žofie 𐍈 {TITLE}"
