"""Arguments before variables before defaults."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from meterline import Meter, MeterMiddleware
from meterline.asgi_types import Receive, Scope, Send
from meterline.options import (
    SPOOL_BYTES_MAX,
    SYNC_INTERVAL_S,
    MeterOptions,
    resolve,
)
from meterline.settings import STATE_VARIABLE
from meterline.settings import state_dir as state_dir_of


async def _app(scope: Scope, receive: Receive, send: Send) -> None:
    """Never called."""


@pytest.fixture(autouse=True)
def state_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("METERLINE_STATE_DIR", str(tmp_path))
    return tmp_path


def test_without_anything_given_both_sides_meet_in_the_state_directory(
    state_dir: Path,
) -> None:
    options = resolve()

    assert options.socket == str(state_dir / "meterline.sock")
    assert options.spool_dir == str(state_dir / "spool")
    assert options.spool_bytes_max == SPOOL_BYTES_MAX
    assert options.sync_interval_s == SYNC_INTERVAL_S
    assert not options.is_disabled


def test_an_argument_is_stronger_than_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("METERLINE_APP", "from-env")
    monkeypatch.setenv("METERLINE_SOCKET", "/env/s")
    monkeypatch.setenv("METERLINE_SPOOL_DIR", "/env/spool")
    monkeypatch.setenv("METERLINE_SPOOL_BYTES_MAX", "8000000")
    monkeypatch.setenv("METERLINE_SYNC_INTERVAL_S", "0")
    monkeypatch.setenv("METERLINE_DISABLED", "1")

    by_variable = resolve()
    by_argument = resolve(
        app_name="x",
        socket="/s",
        spool_dir="/spool",
        spool_bytes_max=9_000_000,
        sync_interval_s=2,
        disabled=False,
    )

    assert (by_variable.app_name, by_argument.app_name) == ("from-env", "x")
    assert (by_variable.socket, by_argument.socket) == ("/env/s", "/s")
    assert (by_variable.spool_dir, by_argument.spool_dir) == ("/env/spool", "/spool")
    assert (by_variable.spool_bytes_max, by_argument.spool_bytes_max) == (
        8_000_000,
        9_000_000,
    )
    assert (by_variable.sync_interval_s, by_argument.sync_interval_s) == (None, 2)
    assert (by_variable.is_disabled, by_argument.is_disabled) == (True, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("METERLINE_SPOOL_BYTES_MAX", "64MB"),
        ("METERLINE_SPOOL_BYTES_MAX", "1000"),
        ("METERLINE_SPOOL_BYTES_MAX", "nan"),
        ("METERLINE_SPOOL_BYTES_MAX", "inf"),
        ("METERLINE_SYNC_INTERVAL_S", "-1"),
        ("METERLINE_SYNC_INTERVAL_S", "nan"),
        ("METERLINE_SYNC_INTERVAL_S", "often"),
        ("METERLINE_DISABLED", "maybe"),
        ("METERLINE_APP", "x" * 257),
        ("METERLINE_EXCLUDE", "NOISE 9999"),
        ("METERLINE_EXCLUDE", "/" + " /" * 1001),
        ("METERLINE_IDEMPOTENCY_HEADER", "a b"),
    ],
)
def test_a_value_that_can_not_be_meant_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValueError, match=f"^{name}\\b"):
        MeterMiddleware(_app)


@pytest.mark.parametrize("path", ["a\0b", "\ud800", b"/s", 7])
def test_what_no_file_can_be_called_is_no_path(path: Any) -> None:
    with pytest.raises(ValueError, match=r"^socket must be a path: "):
        resolve(socket=path)


def test_a_path_is_kept_as_text(tmp_path: Path) -> None:
    options = resolve(socket=tmp_path / "s", spool_dir="relative/spool")

    assert options.socket == str(tmp_path / "s")
    assert options.spool_dir == "relative/spool"


def test_without_a_home_there_is_a_place_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(STATE_VARIABLE)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("meterline.settings.SYSTEM_DIR", "/nowhere")
    monkeypatch.setenv("HOME", "/home/one")
    assert state_dir_of() == "/home/one/.local/state/meterline"

    monkeypatch.setattr("os.path.expanduser", str)  # as for a user without a name

    assert state_dir_of() == "/nowhere"


def test_a_state_directory_is_found_from_anywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(STATE_VARIABLE, "state")
    monkeypatch.chdir(tmp_path)

    assert state_dir_of() == str(tmp_path / "state")


@pytest.mark.parametrize("recorder", [Meter, partial(MeterMiddleware, _app)])
def test_an_option_that_does_not_exist_is_refused(
    recorder: Callable[..., object],
) -> None:
    with pytest.raises(TypeError, match=r"no such option: spool_dri; .* exclude, "):
        recorder(spool_dri="/spool")


@pytest.mark.parametrize("recorder", [Meter, partial(MeterMiddleware, _app)])
def test_every_option_is_taken_by_whatever_records(
    recorder: Callable[..., "Meter | MeterMiddleware"],
) -> None:
    made = recorder(app_name="x", disabled=True)

    meter = made.meter if isinstance(made, MeterMiddleware) else made
    assert (meter.options.app_name, meter.options.is_disabled) == ("x", True)


@pytest.mark.parametrize("wrong", [0, False, b"", [], 42, b"/s", "a\0b"])
@pytest.mark.parametrize("option", ["socket", "spool_dir"])
def test_what_can_be_no_path_is_told(option: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be a path: "):
        resolve(**cast("MeterOptions", {option: wrong}))


@pytest.mark.parametrize(
    ("given", "meant"), [("/s/", "/s"), ("/s//", "/s"), ("s/", "s"), ("/", "/")]
)
def test_a_path_ends_without_a_slash(given: str, meant: str) -> None:
    assert resolve(spool_dir=given).spool_dir == meant


def test_a_path_that_is_empty_is_none(state_dir: Path) -> None:
    assert resolve(socket="").socket == str(state_dir / "meterline.sock")


@pytest.mark.parametrize("wrong", [42, b"x", "", "x" * 257, "\ud800"])
def test_what_can_be_no_name_of_an_app_is_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^app_name must be a text of 1 to 256"):
        resolve(app_name=wrong)
