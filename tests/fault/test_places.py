"""Files that are taken away from under a running sidecar, or half there when it starts."""

import shutil
from pathlib import Path

import pytest

from tests.fault.host import Host
from tests.integration.ledger.test_backup_and_doctor import said
from tests.sidecar_process import until


def until_ended(host: Host, *, code: int = 1) -> str:
    """Wait until the sidecar ends by itself; return what it said."""
    assert host.sidecar.wait() == code
    said_last = host.sidecar.log.read_text()
    assert "Traceback" not in said_last
    return said_last


def delete(database: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{database}{suffix}").unlink()


def replace(database: Path) -> None:
    copy = database.with_name("copy.db")
    shutil.copyfile(database, copy)
    copy.replace(database)


def delete_wal(database: Path) -> None:
    Path(f"{database}-wal").unlink()


@pytest.mark.parametrize("take_away", [delete, replace, delete_wal])
def test_nothing_is_acked_into_a_ledger_that_nobody_finds(
    host: Host, take_away: object
) -> None:
    assert callable(take_away)
    host.sidecar.start()
    worker = host.worker(per_s=500)
    host.sidecar.until_counted(200)

    take_away(host.sidecar.database)
    text = until_ended(host)

    assert "while the sidecar ran" in text
    assert "was saved as" in text
    rescued = Path(f"{host.sidecar.database}.rescued")
    said(host.sidecar, "restore", str(rescued))
    host.sidecar.start()
    worker.stop()
    host.settle()


def test_it_is_noticed_also_when_nothing_comes(host: Host) -> None:
    host.sidecar.start()

    host.sidecar.database.unlink()

    assert "was deleted while the sidecar ran" in until_ended(host)


@pytest.mark.parametrize("again", [False, True])
def test_a_sidecar_whose_socket_is_gone_ends_and_says_so(
    host: Host, again: bool
) -> None:
    host.sidecar.start()
    host.sidecar.socket.unlink()
    if again:
        host.sidecar.socket.write_text("somebody else's")

    assert f"{host.sidecar.socket} was" in until_ended(host)

    assert host.sidecar.socket.exists() == again


def test_a_spool_directory_that_is_gone_ends_it_and_it_starts_again(
    host: Host,
) -> None:
    host.sidecar.spool_dir.mkdir()
    host.sidecar.start()
    worker = host.worker(events=100)
    host.sidecar.until_counted(100)
    worker.wait()
    shutil.rmtree(host.sidecar.spool_dir)

    assert f"{host.sidecar.spool_dir} was deleted" in until_ended(host)

    host.sidecar.start()
    host.settle()


@pytest.mark.parametrize(
    ("suffix", "content"), [(".head", b"\0" * 60), (".newest", b'{"batch_id":1,"ma')]
)
def test_a_head_that_is_not_whole_is_an_alarm_and_no_refusal(
    host: Host, suffix: str, content: bytes
) -> None:
    host.sidecar.start()
    worker = host.worker(events=50)
    host.sidecar.until_counted(50)
    worker.wait()
    host.sidecar.stop()
    Path(f"{host.sidecar.database}{suffix}").write_bytes(content)

    assert said(host.sidecar, "verify", code=3)["report"]["findings"]
    host.sidecar.start()

    (problem,) = (
        one
        for one in said(host.sidecar, "status")["problems"]
        if one["code"] == "ledger_not_trusted"
    )
    assert f"{suffix} is damaged" in problem["text"]
    host.sidecar.stop()
    said(host.sidecar, "verify", "--accept")
    host.sidecar.start()
    host.settle()


@pytest.mark.parametrize("content", [b"", b"abc", b"\n"])
@pytest.mark.parametrize("suffix", [".portal-key", ".key"])
def test_a_key_that_nothing_depends_on_is_made_anew(
    host: Host, suffix: str, content: bytes
) -> None:
    key = Path(f"{host.sidecar.database}{suffix}")
    key.write_bytes(content)

    host.sidecar.start()

    until(lambda: len(key.read_bytes()) >= 32)


def test_a_key_that_a_ledger_was_written_with_is_never_made_anew(host: Host) -> None:
    host.sidecar.start()
    host.sidecar.stop()
    key = Path(f"{host.sidecar.database}.key")
    key.write_bytes(b"")

    host.sidecar.launch()

    assert "0 bytes instead of 32" in until_ended(host)
    assert key.read_bytes() == b""
