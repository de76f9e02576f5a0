"""A server that was started for tests leaves nothing behind, however their process ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres_server import needed
from tests.sidecar_process import until

STARTED = """
import os, signal
from tests.postgres_server import shared
server = shared(15)
print(server.folder, server.pid, flush=True)
"""
ENDS = {
    "as it should": "",
    "forked": "os._exit(0)",
    "killed with its group": "os.killpg(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_server_ends_with_the_process_that_started_it(how: str) -> None:
    needed(15)

    done = subprocess.run(
        [sys.executable, "-c", STARTED + ENDS[how]],
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        process_group=0,
    )

    folder, pid = done.stdout.split()
    until(lambda: not Path(folder).exists())
    until(lambda: not Path("/proc", pid).exists())
