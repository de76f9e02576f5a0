"""Nobody speaks for a worker but the process that has the lock of its spool."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from meterline.spool.producer_file import ProducerFile
from meterline.wire import VERSION, Hello, Refusal, WireError
from meterline_sidecar.ingest.credentials import Credentials
from meterline_sidecar.ingest.peers import Owners
from meterline_sidecar.ingest.receiver import Receiver
from tests.integration.conftest import Sidecar
from tests.patience import PATIENCE_S
from tests.producer import PRODUCER, Connection, batch, event

LOCKING = (
    "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX);"
    " print(flush=True); sys.stdin.read()"
)


def new_spool(spool_dir: Path) -> Path:
    folder = spool_dir / PRODUCER
    folder.mkdir(parents=True)
    hello = Hello(VERSION, PRODUCER, "app", "host", 1, 1)
    ProducerFile.create(folder, hello).close()
    return folder / "producer"


@contextmanager
def locked_by_another(path: Path) -> Generator[int]:
    """Let another process have a file's lock; yields its id."""
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCKING, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    yield holder.pid
    holder.communicate()


async def test_only_who_has_the_lock_of_a_spool_speaks_for_it(tmp_path: Path) -> None:
    path = new_spool(tmp_path)
    owners = Owners(tmp_path)
    with locked_by_another(path) as pid:
        await owners.check(PRODUCER, Credentials(pid, 0))

        with pytest.raises(WireError, match="has the lock of its spool"):
            await owners.check(PRODUCER, Credentials(pid + 1, 0))
        await owners.check(PRODUCER, Credentials(pid, 0))
    # Its worker is dead: what it left is drained by who takes the lock.
    with pytest.raises(WireError):
        await owners.check(PRODUCER, Credentials(pid, 0))


async def test_where_no_lock_can_be_seen_the_first_one_stays_until_it_ends(
    tmp_path: Path,
) -> None:
    owners = Owners(tmp_path)  # the events of this one wait in memory
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    alive = os.getpid()

    await owners.check(PRODUCER, Credentials(dead.pid, 7))
    with pytest.raises(WireError):
        await owners.check(PRODUCER, Credentials(alive, 8))
    await owners.check(PRODUCER, Credentials(alive, 7))
    with pytest.raises(WireError):
        await owners.check(PRODUCER, Credentials(alive + 1, 7))


async def test_a_hello_with_a_workers_id_takes_nothing_over(
    sidecar: Sidecar, tmp_path: Path
) -> None:
    path = new_spool(tmp_path / "spool")
    receiver = Receiver(
        *(sidecar.ingest, tmp_path / "other.sock"),
        uids=(),
        on_fatal=lambda _error: None,
        whose=sidecar.whose,
        spool_dir=tmp_path / "spool",
    )
    with locked_by_another(path):
        async with receiver, Connection(receiver.path) as thief:
            hello = Hello(VERSION, PRODUCER, "app", "host", 1, 1)
            await thief.send(hello)

            refusal = await thief.receive()

    assert isinstance(refusal, Refusal)
    assert refusal.code == "duplicate_producer"
    async with Connection(sidecar.socket) as app, asyncio.timeout(PATIENCE_S):
        assert await app.hello() == 0
        assert await app.ship(batch(event())) == 1
