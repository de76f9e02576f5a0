"""Ctrl-C ends a command with one line and 130, and leaves nothing half-done."""

import asyncio
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import meterline_sidecar
from meterline_sidecar.cli import interruptible
from meterline_sidecar.cli.interruptible import run_interruptible
from tests.patience import PATIENCE_S
from tests.sidecar_process import MODULE, SidecarProcess, until, until_asleep


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_second_ctrl_c_interrupts_nothing_of_what_is_cleared_away() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            press()
            await asyncio.Event().wait()
        finally:
            for i in range(3):
                press()
                await asyncio.sleep(0)
                steps.append(f"cleared {i}")

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work())

    assert steps == ["cleared 0", "cleared 1", "cleared 2"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_whoever_presses_it_again_after_a_while_is_not_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interruptible, "PATIENCE_S", -1)
    is_reached = False

    async def work() -> None:
        nonlocal is_reached
        try:
            press()
            await asyncio.Event().wait()
        finally:
            press()
            try:
                await asyncio.Event().wait()
            finally:
                is_reached = True

    with pytest.raises(KeyboardInterrupt):
        run_interruptible(work())

    assert is_reached


def test_what_is_not_interrupted_returns_or_raises_as_ever() -> None:
    async def fail() -> None:
        raise ValueError("x")

    async def cancel() -> None:
        raise asyncio.CancelledError

    assert run_interruptible(asyncio.sleep(0, 5)) == 5
    with pytest.raises(ValueError, match="x"):
        run_interruptible(fail())
    with pytest.raises(asyncio.CancelledError):
        run_interruptible(cancel())


def test_a_job_that_is_told_of_no_ctrl_c_goes_on() -> None:
    async def work() -> int:
        press()
        await asyncio.sleep(0)
        return 5

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run_interruptible(work()) == 5
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def interrupted(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Interrupt a command while it waits for an answer; return what it says."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s"))
        listening.listen()
        listening.settimeout(PATIENCE_S)
        command = subprocess.Popen(
            [*MODULE, *arguments, "--url", f"unix:{folder / 's'}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1)
                command.send_signal(signal.SIGINT)
                stdout, stderr = command.communicate(timeout=PATIENCE_S)
        finally:
            command.kill()
            command.wait()
    return command.returncode, stdout, stderr


def test_a_command_that_only_looks_says_no_more_than_that(tmp_path: Path) -> None:
    assert interrupted(tmp_path, "usage") == (130, "", "meterline: interrupted\n")


@pytest.mark.parametrize(
    "arguments",
    [("credit", "acme", "5", "--reason", "x"), ("close",), ("reload",)],
    ids=lambda arguments: arguments[0],
)
def test_a_command_that_changes_something_says_that_it_may_be_done(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, stdout, stderr = interrupted(tmp_path, *arguments)

    assert (code, stdout, stderr.count("\n")) == (130, "", 1)
    assert "may still do what it was asked: look (`meterline status`" in stderr


def test_nothing_that_takes_long_is_loaded_before_ctrl_c_is_looked_for() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import meterline_sidecar.__main__;"
        " print({'typing', 'contextlib', 'click', 'asyncio'} & set(sys.modules))"
    )
    package = Path(meterline_sidecar.__path__[0]).parent
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(package)],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )

    assert done.stdout == "set()\n"


def test_a_command_that_asks_first_says_that_nothing_was_changed() -> None:
    command = subprocess.Popen(
        [*MODULE, "erase", "somebody", "--reason", "x"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    question = "type the subject once more to erase it for good: "
    try:
        assert command.stderr is not None
        assert command.stderr.read(len(question)) == question
        until_asleep(command.pid)
        command.send_signal(signal.SIGINT)
        stdout, stderr = command.communicate(timeout=PATIENCE_S)
    finally:
        command.kill()
        command.wait()

    told = "meterline: interrupted; nothing was changed\n"
    assert (command.returncode, stdout, stderr) == (130, "", told)


@pytest.mark.parametrize("often", [1, 2, 3])
def test_a_backup_that_is_interrupted_leaves_no_file(
    tmp_path: Path, often: int
) -> None:
    with SidecarProcess(tmp_path) as sidecar:
        sidecar.stop()
    copies = tmp_path / "copies"
    copies.mkdir()
    reading, writing = os.pipe()
    # It is full, so that the command waits where it first says how far it is.
    n_bytes = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, select.PIPE_BUF)
    os.write(writing, bytes(n_bytes))
    command = subprocess.Popen(
        [*MODULE, "backup", str(copies / "x.db"), "--config", str(sidecar.config)],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    try:
        until(lambda: (copies / "x.db.part").exists())
        for _ in range(often):
            command.send_signal(signal.SIGINT)
        with os.fdopen(reading, "rb") as file:
            file.read()
        _, stderr = command.communicate(timeout=PATIENCE_S)
    finally:
        command.kill()
        command.wait()

    assert (command.returncode, stderr) == (130, "meterline: interrupted\n")
    assert list(copies.iterdir()) == []
