"""Spools that somebody takes away: what is lost with them is known."""

import asyncio
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.living import Spool
from meterline.spool.scan import DAMAGED, Loss
from tests.clock import FakeClock
from tests.fault.host import ROOT
from tests.fault.sim_parts import Life
from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event

pytestmark = pytest.mark.fault

N_RECORDED: Final = 10
N_SHIPPED: Final = 3

CUT: Final = """
import meterline, os, pathlib, sys, time
meter = meterline.Meter(socket="/nowhere/s", spool_dir=sys.argv[1])
for i in range(int(sys.argv[2])):
    meter.record("n", i)
while meter.stats.recorded < int(sys.argv[2]):   # until the shipper has looked
    time.sleep(0.01)
for segment in pathlib.Path(sys.argv[1]).glob("*/*.seg"):
    os.truncate(segment, 0)
meter.record("n", 1)
"""


def test_a_spool_that_somebody_deletes_is_an_open_gap(tmp_path: Path) -> None:
    async def lose() -> None:
        life = Life(
            tmp_path,
            spool_dir=tmp_path / "spool",
            clock=FakeClock(),
            when_dead=lambda: pytest.fail("nobody killed it"),
        )
        await life.start()
        spool = Spool.open(
            tmp_path / "spool", app="tests", host="localhost", pid=1, bytes_max=0
        )
        for _ in range(N_RECORDED):
            spool.writer.append(b"event")
        async with Connection(life.socket) as app:
            producer = spool.writer.hello.producer
            await app.hello(producer, recorded_seq=N_RECORDED)
            await app.ship(batch(*[event(quantities={"n": 1})] * N_SHIPPED))
        spool.abandon()

        shutil.rmtree(tmp_path / "spool" / producer)

        assert await life.drain.run() == 0
        await life.stop()

    asyncio.run(lose())

    with sqlite3.connect(tmp_path / "meterline.db") as connection:
        sql = "SELECT recorded_seq, last_seq, lost FROM producers"
        assert connection.execute(sql).fetchall() == [(N_RECORDED, N_SHIPPED, 0)]
    connection.close()


def test_a_worker_whose_spool_is_cut_is_ended_by_the_kernel_and_its_events_are_counted(
    tmp_path: Path,
) -> None:
    worker = subprocess.run(
        [sys.executable, "-c", CUT, str(tmp_path), str(N_RECORDED)],
        cwd=ROOT,
        timeout=PATIENCE_S,
        check=False,
    )
    (path,) = spool_directories(tmp_path)
    spool = DeadSpool.take(path)
    assert spool is not None

    parts = list(spool.parts(after_seq=0))
    spool.close()

    assert worker.returncode == -signal.SIGBUS
    assert parts == [Loss(1, N_RECORDED, DAMAGED)]
