"""Where what is printed goes: closed pipes, full disks, odd encodings, no streams."""

import os
import resource
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from tests.sidecar_process import (
    COMMAND_TIMEOUT_S,
    MODULE,
    SidecarProcess,
    meterline,
)

LONG = ("config", "schema")
ROOM_BYTES = 4_096
UNFLUSHED = (
    *MODULE[:2],
    "import sys; from meterline_sidecar.cli import main;"
    " main.cli = lambda prog_name: (sys.stdout.write('x' * 9_000), sys.exit(0));"
    " main.main()",
)
"""A command that, as a table of CSV does, leaves the last bytes to the end."""


def ended(
    command: Sequence[str | bytes],
    *,
    stdout: IO[Any] | int = subprocess.PIPE,
    cwd: Path | None = None,
    before: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("METERLINE_")}
    # Of a module that is compiled with little room, half would be kept.
    environment = {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **(variables or {})}
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
        preexec_fn=before,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def _little_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))


def _no_room() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _close_output() -> None:
    os.close(1)


def _close_both() -> None:
    os.close(1)
    os.close(2)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", [(*MODULE, *LONG), UNFLUSHED])
def test_what_a_full_disk_does_not_take_is_told(
    tmp_path: Path, command: Sequence[str], unbuffered: str
) -> None:
    with (tmp_path / "out").open("w") as out:
        done = ended(
            command,
            stdout=out,
            before=_little_room,
            variables={"PYTHONUNBUFFERED": unbuffered},
        )

    assert (done.returncode, done.stderr) == (
        1,
        "meterline: standard output: File too large; check the disk and its room\n",
    )


@pytest.mark.parametrize("command", [(*MODULE, *LONG), UNFLUSHED])
def test_who_reads_no_further_is_told_nothing(command: Sequence[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        done = ended(command, stdout=out)

    assert (done.returncode, done.stderr) == (1, "")


def test_a_command_needs_no_output() -> None:
    silent = ended([*MODULE, *LONG], before=_close_output)
    wrong = ended([*MODULE, "usage", "--start", "x"], before=_close_both)

    assert (silent.returncode, silent.stderr) == (0, "")
    assert wrong.returncode == 2


def test_letters_that_an_encoding_does_not_have_are_written_out(tmp_path: Path) -> None:
    config = tmp_path / "meterline.toml"
    config.write_text('[[meter]]\nname = "Žofie"\naggregation = "count"\n')

    plain = meterline("check", "--config", str(config))
    done = meterline(
        *("check", "--config", str(config)),
        environment={"PYTHONIOENCODING": "ascii"},
    )

    assert done.returncode == plain.returncode == 78
    assert "Žofie" in plain.stderr
    assert "\\u017dofie" in done.stderr
    assert "Traceback" not in done.stderr


def test_bytes_that_are_no_text_are_told() -> None:
    done = ended([*MODULE, "usage", "--customer", b"\xff", "--url", "127.0.0.1:9"])

    assert (done.returncode, done.stderr) == (
        2,
        "meterline: '\\udcff' is not UTF-8\n",
    )


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()

    done = ended([*MODULE, "check"], cwd=gone, before=gone.rmdir)

    assert done.returncode == 1
    assert "the directory that this runs in was deleted" in done.stderr


def test_a_first_configuration_is_there_as_a_whole_or_not_at_all(
    tmp_path: Path,
) -> None:
    target = tmp_path / "new"

    done = ended([*MODULE, "init", str(target)], before=_no_room)
    again = ended([*MODULE, "init", str(target)])

    assert done.returncode == 1
    assert done.stderr == (
        f"meterline: {target}: File too large; choose a directory that can be written"
        " to\n"
    )
    assert again.returncode == 0, again.stderr


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    long = "a" * 300 + ".jsonl"
    url = ("--url", "http://127.0.0.1:9")

    done = meterline("import", long, *url, cwd=tmp_path)
    empty = meterline("import", "", *url, cwd=tmp_path)

    assert done.returncode == empty.returncode == 1
    assert "File name too long; name a file that you can read" in done.stderr
    assert empty.stderr == "meterline: there is no file ''\n"


def test_an_empty_ledger_says_so_in_words(tmp_path: Path) -> None:
    what_if = f"what-if --plan {tmp_path / 'pricing.toml'}"
    lists = ("customers list", "usage", "close --list paid", "token list", what_if)
    with SidecarProcess(tmp_path, meterline="", pricing="") as sidecar:
        told = {
            command: sidecar.meterline(*command.split()).stdout.splitlines()[0]
            for command in lists
        }

    assert told == {
        "customers list": "no customer is defined; add a [[customer]] to meterline.toml,"
        " or use `meterline customers add`",
        "usage": "there is no usage to show",
        "close --list paid": "no invoice is final yet",
        what_if: "there is no customer whose prices could differ",
        "token list": "there is no token; `meterline token create NAME` makes one",
    }


def test_nobody_is_erased_where_nobody_can_be_asked() -> None:
    done = meterline("erase", "acct_1", "--reason", "x", "--url", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert "nothing was erased" in done.stderr
    assert "--yes" in done.stderr
