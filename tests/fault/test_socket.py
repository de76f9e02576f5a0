"""Whoever speaks to the socket badly, slowly, too much, or without the right to."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from meterline.link import State
from meterline.wire import FRAME_BYTES_MAX
from tests.clock import FakeClock
from tests.fault.host import IS_SOAK, ROOT, Host
from tests.fault.oracle import Truth, assert_law
from tests.fault.sim_parts import App, Life, Wire, is_over, turns
from tests.patience import PATIENCE_S
from tests.producer import Connection, batch, event

NOBODY: Final = 65_534
ALL_BYTES: Final = 1 << 20
CONNECTIONS: Final = 300
SUBJECTS: Final = 1_000_000 if IS_SOAK else 30_000
SUBJECTS_PER_BATCH: Final = 5_000
MEMORY_BYTES_MAX: Final = 256 << 20 if IS_SOAK else 96 << 20


def memory_bytes(pid: int) -> int:
    """Return how much memory a process has in use."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def test_a_wire_cut_at_any_byte_in_either_direction_counts_once(
    tmp_path: Path,
) -> None:
    apps: list[Truth] = []
    front = socket.socket(socket.AF_UNIX)
    front.bind(str(tmp_path / "front"))
    front.listen()

    async def converse(app: App, life: Life, *, up: int, down: int) -> tuple[int, int]:
        """Ship until all is done, or so many bytes have passed either way."""
        link = app.connect(tmp_path / "front")
        between = Wire(front, life.socket)
        while not is_over(link) and between.up_bytes < up and between.down_bytes < down:
            app.spool.maintain(sync_interval_s=None)
            link.pump(is_last=True)
            with contextlib.suppress(OSError):
                between.move(up - between.up_bytes, down - between.down_bytes)
            await turns(1)
        between.cut()
        link.pump()
        link.close()
        if link.state is State.DONE:
            app.spool.delete()
        else:
            await converse(app, life, up=ALL_BYTES, down=ALL_BYTES)
        return between.up_bytes, between.down_bytes

    async def cut_everywhere() -> None:
        life = Life(
            tmp_path,
            spool_dir=tmp_path / "spool",
            clock=FakeClock(),
            when_dead=lambda: pytest.fail("nobody killed it"),
        )
        await life.start()
        up, down = await converse(new_app(), life, up=ALL_BYTES, down=ALL_BYTES)
        for n_bytes in range(1, up + 1):
            await converse(new_app(), life, up=n_bytes, down=ALL_BYTES)
        for n_bytes in range(1, down + 1):
            await converse(new_app(), life, up=ALL_BYTES, down=n_bytes)
        await life.stop()

    def new_app() -> App:
        app = App(f"app{len(apps)}", tmp_path / "spool", bytes_max=0)
        apps.append(app)
        app.record(3, time_ms=FakeClock().time_ms)
        app.close()
        return app

    asyncio.run(cut_everywhere())
    front.close()

    assert_law(tmp_path / "meterline.db", apps)
    assert len(apps) > 250


async def test_slow_and_huge_frames_cost_nothing_and_delay_nobody(host: Host) -> None:
    await asyncio.to_thread(host.sidecar.start)
    path = host.sidecar.socket
    async with contextlib.AsyncExitStack() as stack, Connection(path) as good:
        await good.hello("f" * 32)
        before = memory_bytes(host.sidecar.pid)
        for i in range(CONNECTIONS):
            bad = await stack.enter_async_context(Connection(path))
            if i % 3:
                await bad.hello(f"{i:032x}")
            # Of a frame that is announced as large, one byte comes.
            lengths = (FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 2**32 - 1)
            await bad.send_bytes(struct.pack(">I", lengths[i % 3]) + b"\x95")

        acked = await good.ship(batch(event(quantities={"n": 1})))

        assert acked == 1
        grown = memory_bytes(host.sidecar.pid) - before
        assert grown < CONNECTIONS * 64 * 1024, f"{grown} bytes"


async def test_a_flood_of_subjects_stays_within_bounded_memory(host: Host) -> None:
    await asyncio.to_thread(host.sidecar.start)
    async with Connection(host.sidecar.socket) as app:
        await app.hello()
        before = memory_bytes(host.sidecar.pid)
        for first in range(0, SUBJECTS, SUBJECTS_PER_BATCH):
            events = [
                event(subject=f"attacker-{first + i:07}", quantities={"n": 1})
                for i in range(SUBJECTS_PER_BATCH)
            ]
            await app.ship(batch(*events, first_seq=first + 1))
        grown = memory_bytes(host.sidecar.pid) - before

    assert grown < MEMORY_BYTES_MAX, f"{grown >> 20} MiB"


STRANGER: Final = """\
import os, socket, sys
from meterline import wire
os.chdir(sys.argv[1])
os.setgid({nobody})
os.setuid({nobody})
sender = socket.socket(socket.AF_UNIX)
sender.settimeout(60)
sender.connect("meterline.sock")
received = b""
while data := sender.recv(1 << 16):
    received += data
print(wire.decode_from_sidecar(received[wire.FRAME_HEADER.size:]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("is_open", [False, True])
def test_another_users_process_gets_nothing_in(host: Host, is_open: bool) -> None:
    host.sidecar.start()
    if is_open:  # even where somebody has opened the doors
        host.folder.chmod(0o777)
        host.sidecar.socket.chmod(0o777)

    stranger = subprocess.run(
        [
            *(sys.executable, "-c", STRANGER.format(nobody=NOBODY)),
            str(host.folder),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    if is_open:
        assert "Refusal(code='uid'" in stranger.stdout, stranger.stderr
        assert host.sidecar.get("/status")["refusals"] == {"uid": 1}
    else:
        assert "PermissionError" in stranger.stderr
