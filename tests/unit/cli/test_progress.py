"""How far something long has come, as a command says it."""

import io
import sys

import pytest

from meterline_sidecar.cli.output import Progress, StepsAside


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_grows_and_ends_its_line() -> None:
    stream = _Terminal()
    progress = Progress("events", 2, stream=stream)

    progress.show(1)
    progress.show(2)

    begun, done = stream.getvalue().split("\r")[1:]
    assert begun.startswith("[####################....................] 1 of 2 events")
    assert done == f"[{'#' * 40}] 2 of 2 events\n"


def test_nothing_is_said_of_what_takes_no_moment() -> None:
    stream = _Terminal()
    progress = Progress("events", 2, stream=stream, after_s=3_600)

    progress.show(1)
    progress.show(2)

    assert stream.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [True, False])
def test_steps_aside_are_said_to_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    is_terminal: bool,
) -> None:
    stream = _Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("meterline_sidecar.cli.output.PROGRESS_LINE_EVERY_S", 0)

    StepsAside().show("events", 2, 2)

    assert bool(stream.getvalue()) == is_terminal
    assert capsys.readouterr().out == ""
