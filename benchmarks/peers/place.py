"""Where peers are run: their environment, and a server with one of them."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
ENVIRONMENT: Final = ROOT / ".peers"
REQUIREMENTS: Final = Path(__file__).with_name("requirements.txt")
PYTHON: Final = str(ENVIRONMENT / "bin" / "python")
START_S: Final = 60.0


def make_environment() -> None:
    """Install the peers, pinned, unless they are there."""
    stamp = ENVIRONMENT / "requirements.txt"
    if stamp.exists() and stamp.read_bytes() == REQUIREMENTS.read_bytes():
        return
    uv = (sys.executable, "-m", "uv")
    subprocess.run([*uv, "venv", "--quiet", "--clear", str(ENVIRONMENT)], check=True)
    install = ("pip", "install", "--quiet", "--require-hashes", "--python", PYTHON)
    subprocess.run([*uv, *install, "-r", str(REQUIREMENTS)], check=True)
    stamp.write_bytes(REQUIREMENTS.read_bytes())


def version_of(package: str) -> str:
    """Return which version of a package is there."""
    code = f"from importlib import metadata; print(metadata.version({package!r}))"
    command = [PYTHON, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def variables(peer: str, folder: Path, stub: str) -> dict[str, str]:
    """Return what a process with a peer has in its environment."""
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'middleware'}",
        "PEER": peer,
        "PEERS_FOLDER": str(folder),
        "PEERS_STUB": stub,
        "METERLINE_SOCKET": str(folder / "meterline.sock"),
        "METERLINE_SPOOL_DIR": str(folder / "spool"),
        "TMPDIR": str(folder),
    }


class Served:
    """A server with one app, on a port of the loopback."""

    def __init__(
        self, target: str, folder: Path, environment: Mapping[str, str]
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"log-{self.port}"
        self._target = target
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = "--loop uvloop --http httptools --no-access-log --log-level warning"
        command = [PYTHON, "-m", "uvicorn", self._target, *options.split()]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=log,
                cwd=self._environment.get("PEERS_FOLDER"),
            )
        deadline_s = time.monotonic() + START_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.socket() as attempt:
                attempt.connect(("127.0.0.1", self.port))
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self._target} did not start: {self._log.read_text()}")

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """End it at once, as the kernel would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def get(self, path: str) -> str:
        """Return what it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", path)
            return connection.getresponse().read().decode()

    def get_json(self, path: str) -> Any:
        """Return the JSON that it answers."""
        return json.loads(self.get(path))


@contextlib.contextmanager
def stub(folder: Path, *, keeps: bool) -> Generator[Served]:
    """Run the server that stands for those that peers send to."""
    environment = variables("", folder, "")
    del environment["PEER"]
    environment["PEERS_STUB_KEEPS"] = "1" if keeps else "0"
    served = Served("benchmarks.peers.stub:app", folder, environment)
    served.start()
    try:
        yield served
    finally:
        served.kill()
