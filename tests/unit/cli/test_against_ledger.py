"""What `meterline check` says of the files beside a ledger."""

from meterline_sidecar.cli.against_ledger import Compared
from meterline_sidecar.terms.diff import Diff
from meterline_sidecar.web.answers.money import MoneyChange

NO_MONEY = MoneyChange(periods=(), n_periods=0, open=(), adjustments=(), summary=())


def compared(*refused: str) -> Compared:
    found = Diff(planned=(), told=(), refused=refused, at_ms=0)
    return Compared(found, is_first=False, since="", money=NO_MONEY)


def test_files_that_change_nothing_are_said_to_change_nothing() -> None:
    (line,) = compared().lines()

    assert "loading these changes nothing" in line


def test_files_that_are_refused_are_not_said_to_be_in_the_ledger() -> None:
    assert compared("acme: no").lines() == []
