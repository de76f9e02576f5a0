"""Tables on terminals of any width: a number is never cut."""

import shutil
from collections.abc import Callable
from os import terminal_size

import pytest

from meterline_sidecar.cli import table, table_rich
from meterline_sidecar.cli.table import Table

Show = Callable[[Table, int], list[str]]
ROUTE = "/v1/organisations/{id}/projects/{id}/completions"


@pytest.fixture(params=["plain", "rich"])
def show_at(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Show:
    """Return what a person sees of a table on a terminal so many columns wide."""

    def show_at(shown: Table, columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(table, "is_terminal", lambda: True)
        monkeypatch.setattr(
            shutil, "get_terminal_size", lambda: terminal_size((columns, 24))
        )
        draw = table_rich.draw if request.param == "rich" else None
        monkeypatch.setattr(table, "draw", draw)
        table.show(shown)
        return capsys.readouterr().out.splitlines()

    return show_at


def invoices() -> Table:
    shown = Table("number", "customer", "due", ">net", ">tax", ">amount", ">left")
    for i in range(3):
        shown.add(f"INV-000{i}", "acme", "", "$4,100.81", "$0.00", "$4,100.81", "$7.00")
    return shown


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_no_amount_is_cut_however_narrow_the_terminal_is(
    show_at: Show, columns: int
) -> None:
    lines = show_at(invoices(), columns)

    text = "\n".join(lines)
    assert text.count("$4,100.81") == 6
    assert all(f"INV-000{i}" in text for i in range(3))
    assert max(map(len, lines)) <= max(columns, len("customer  INV-0000"))


def test_rows_stand_below_each_other_where_there_is_no_room(show_at: Show) -> None:
    lines = show_at(invoices(), 40)

    assert lines[:6] == [
        "number    INV-0000",
        "customer  acme",
        "net       $4,100.81",
        "tax       $0.00",
        "amount    $4,100.81",
        "left      $7.00",
    ]


def test_long_texts_are_broken_and_whole(show_at: Show) -> None:
    shown = Table("route", ">calls")
    shown.add(ROUTE, "1,234")

    text = "".join(show_at(shown, 40))

    letters = "".join(one for one in text if one not in " \u2502\n")
    assert "".join(ROUTE.split()) in letters.replace("1,234", "")
    assert "1,234" in text


def test_a_table_without_rows_has_its_headings(show_at: Show) -> None:
    text = "\n".join(show_at(Table("number", "customer", ">amount"), 20))

    assert "number" in text
