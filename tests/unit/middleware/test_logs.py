"""Logging, also where the app has loaded none."""

import logging
import sys
from types import ModuleType
from typing import Final

import pytest

from meterline.logs import Log

NAME: Final = "meterline.somewhere"
log = Log(NAME)


@pytest.fixture
def without_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "logging")


def say_all() -> None:
    log.debug("a %s", "debug")
    log.info("an %s", "info")
    log.warning("a %s", "warning")
    log.error("an %s", "error")


def raise_and_warn() -> None:
    try:
        int("no number")
    except ValueError:
        log.warning("it failed", exc_info=True)


class Gone:
    """A stream whose other end is closed."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(text)


def test_logging_gets_everything_as_from_whoever_says_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, logger=NAME)

    say_all()
    raise_and_warn()

    assert [(one.name, one.levelname, one.getMessage()) for one in caplog.records] == [
        (NAME, "DEBUG", "a debug"),
        (NAME, "INFO", "an info"),
        (NAME, "WARNING", "a warning"),
        (NAME, "ERROR", "an error"),
        (NAME, "WARNING", "it failed"),
    ]
    assert {one.funcName for one in caplog.records} == {"say_all", "raise_and_warn"}
    assert caplog.records[-1].exc_info is not None


def test_its_levels_and_filters_hold(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger=NAME)

    say_all()

    assert caplog.messages == ["an error"]


@pytest.mark.usefixtures("without_logging")
def test_without_it_warnings_stand_alone_on_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say_all()

    assert capsys.readouterr().err == "a warning\nan error\n"


@pytest.mark.usefixtures("without_logging")
def test_without_it_an_error_says_where_it_was_raised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    raise_and_warn()
    log.warning("nothing is handled", exc_info=True)  # noqa: LOG014

    first, head, where, what, last = capsys.readouterr().err.splitlines()
    assert (first, head) == ("it failed", "Traceback (most recent call last):")
    assert where.startswith(f'  File "{__file__}", line ')
    assert where.endswith(", in raise_and_warn")
    assert what == "ValueError: invalid literal for int() with base 10: 'no number'"
    assert last == "nothing is handled"


def test_while_a_thread_loads_it_a_warning_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "logging", ModuleType("logging"))

    log.warning("just now")

    assert capsys.readouterr().err == "just now\n"


@pytest.mark.usefixtures("without_logging")
@pytest.mark.parametrize("stream", [None, Gone()])
def test_where_there_is_no_stderr_nothing_is_raised(
    monkeypatch: pytest.MonkeyPatch, stream: object
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)

    raise_and_warn()
