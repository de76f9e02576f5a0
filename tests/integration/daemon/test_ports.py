"""Who has a port, and which one is free."""

import contextlib
import os
import socket
from collections.abc import Generator
from pathlib import Path

import pytest

from meterline_sidecar.daemon.listen import bind
from meterline_sidecar.daemon.ports import free_port, holder_of
from meterline_sidecar.errors import AlreadyRunning


@pytest.fixture
def taken() -> Generator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_somebody_has_is_passed_over(taken: int) -> None:
    free = free_port("127.0.0.1", taken)

    assert taken < free <= taken + 100
    with contextlib.closing(bind(f"127.0.0.1:{free}")) as listener:
        assert listener.getsockname()[1] == free


def test_a_port_that_somebody_has_is_refused_with_who_and_the_line_to_write(
    taken: int,
) -> None:
    with pytest.raises(AlreadyRunning) as refused:
        bind(f"127.0.0.1:{taken}", file=Path("mine/meterline.toml"))

    text = str(refused.value)
    assert f"cannot listen on 127.0.0.1:{taken}: process {os.getpid()} (" in text
    assert 'write `http = "127.0.0.1:' in text
    assert "under [sidecar] in mine/meterline.toml" in text


def test_an_address_that_is_not_of_this_machine_is_refused_as_such() -> None:
    with pytest.raises(AlreadyRunning, match="another address"):
        bind("192.0.2.1:8270")


def test_the_command_of_who_has_a_port_is_one_line(tmp_path: Path) -> None:
    process = tmp_path / "4711"
    process.joinpath("fd").mkdir(parents=True)
    process.joinpath("cmdline").write_bytes(
        b"python\0-c\0import time\n\ntime.sleep(9)\0"
    )
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        inode = Path(f"/proc/self/fd/{other.fileno()}").readlink()
        process.joinpath("fd", "3").symlink_to(inode)

        told = holder_of(other.getsockname()[1], proc=tmp_path)

    assert told == "process 4711 (python -c import time time.sleep(9))"


def test_of_another_users_process_the_user_is_named(taken: int, tmp_path: Path) -> None:
    assert "a process of the user " in holder_of(taken, proc=tmp_path)


def test_a_port_that_nobody_has_is_nobodys() -> None:
    assert holder_of(1) == "another process"
