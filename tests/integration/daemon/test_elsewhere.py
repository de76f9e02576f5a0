"""The daemon on a system that has what macOS has, as far as Linux can pretend it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.patience import PATIENCE_S
from tests.sidecar_process import SidecarProcess

MACOS: Final = """
import _socket, asyncio, builtins, errno, fcntl, io, os, pathlib, socket, subprocess, struct, sys
import sysconfig, urllib.request, uvicorn
sysconfig.get_config_vars()  # what Python needs of itself

def without(where, *names):
    for name in names:
        if hasattr(where, name):
            delattr(where, name)

without(os, "posix_fallocate", "posix_fadvise", "fdatasync", "memfd_create", "pidfd_open",
    "eventfd", "sched_getaffinity", "sched_setaffinity", "getxattr", "O_PATH",
    "O_TMPFILE", "O_NOATIME", "sendfile", "copy_file_range", "splice")
os.process_cpu_count = os.cpu_count  # of Python 3.13, where there is no affinity
peer_of = socket.SO_PEERCRED
without(socket, "SO_PEERCRED", "MSG_NOSIGNAL", "SOCK_NONBLOCK", "SOCK_CLOEXEC",
    "SO_PASSCRED", "SO_DOMAIN", "SO_PROTOCOL")
without(_socket, "MSG_NOSIGNAL")

really_fcntl = fcntl.fcntl
def with_full_sync(fd, command, *rest):
    return os.fsync(fd) if command == 51 else really_fcntl(fd, command, *rest)
fcntl.fcntl, fcntl.F_FULLFSYNC = with_full_sync, 51

class Socket(socket.socket):
    def getsockopt(self, level, option, *size):
        if level != 0 or option not in (1, 2):
            return super().getsockopt(level, option, *size)
        pid, uid, gid = struct.unpack("3i", super().getsockopt(1, peer_of, 12))
        xucred = struct.pack("=IIh2xI60x", 0, uid, 1, gid)
        return xucred if option == 1 else struct.pack("i", pid)
socket.socket = Socket

def not_proc(really):
    def opened(path, *rest, **named):
        if isinstance(path, (str, os.PathLike)) and str(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "there is no /proc", str(path))
        return really(path, *rest, **named)
    return opened
for where, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "listdir"),
        (os, "scandir"), (os, "readlink"), (os, "stat")):
    setattr(where, name, not_proc(getattr(where, name)))
sys.platform = "darwin"
"""
WORKER: Final = """
import meterline, sys
meter = meterline.Meter(socket=sys.argv[1], spool_dir=sys.argv[2])
meter.record("n", 1, subject="acct_1")
assert meter.stats.spool == "file", meter.stats
assert meter.flush(timeout_s=100), meter.stats
"""
KILLED: Final = WORKER.replace("assert meter.flush", "os._exit(0)  #")


class OnMacOS(SidecarProcess):
    """A sidecar that finds what macOS has."""

    @property
    def command(self) -> list[str]:
        run = "from meterline_sidecar.__main__ import main\nmain()"
        return [
            *(sys.executable, "-c", MACOS + run),
            *("run", "--config", str(self.config)),
        ]


@pytest.mark.slow
def test_the_daemon_runs_with_what_macos_has(tmp_path: Path) -> None:
    sidecar = OnMacOS(tmp_path)
    record(sidecar, KILLED)  # its spool is drained at the start
    with sidecar:
        record(sidecar, WORKER)
        sidecar.until_counted(2)
        events = sidecar.get("/status")["events"]
        assert sidecar.stop() == 0, sidecar.log.read_text()

    assert (events["ingested"], events["lost"]) == (2, 0)
    assert "Traceback" not in sidecar.log.read_text()


def record(sidecar: SidecarProcess, script: str) -> None:
    """Run a worker that finds what macOS has."""
    where = (str(sidecar.socket), str(sidecar.spool_dir))
    subprocess.run(
        [sys.executable, "-c", MACOS + script, *where], check=True, timeout=PATIENCE_S
    )
