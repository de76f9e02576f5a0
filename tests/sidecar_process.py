"""A real ``meterline run`` for tests: its own process, everything in one directory.

    with SidecarProcess(tmp_path) as sidecar:
        connect_to(sidecar.socket)
        assert sidecar.get("/status")["ready"]

Everything here blocks; an async test calls it with ``asyncio.to_thread``.
"""

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import httpx

from tests.forked import ABSENT, Command, forked
from tests.patience import PATIENCE_S
from tests.plans import STARTER

COMMAND_TIMEOUT_S: Final = 200.0  # `meterline demo` is one of them
POLL_S: Final = 0.02
T = TypeVar("T")

SIDECAR: Final = """\
[sidecar]
socket = "meterline.sock"
database = "meterline.db"
spool_dir = "spool"
http = "unix:http.sock"
aggregate_every_s = 1
"""

METERLINE: Final = """
[[meter]]
name = "api_calls"
aggregation = "count"
where = { status = "200-499" }

[[customer]]
id = "acme"
name = "Acme Corp"
subjects = ["acct_1", "acme_*"]
plan = "starter"
"""

PRICING: Final = STARTER


def until(condition: Callable[[], T], *, timeout_s: float = PATIENCE_S) -> T:
    """Wait for another process, and return what was found as soon as it is something.

    What is asked for a second time may have changed.

    Raises:
        TimeoutError: it did not come in time.
    """
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"not within {timeout_s} s")
        time.sleep(POLL_S)
    return found


NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody, for where no TLS is spoken: a client that loads whom to trust takes
20 ms of computing, at every look of ``until``."""


def until_asleep(pid: int) -> None:
    """Wait until a process waits for something, such as what is typed.

    Python does not notice a signal between its last look and the read that then waits.
    """
    stat = Path(f"/proc/{pid}/stat")
    until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "S")


def unix_client(path: Path, **options: Any) -> httpx.Client:
    """Return an HTTP client of what listens on a Unix socket."""
    transport = httpx.HTTPTransport(verify=NO_TLS, uds=str(path))
    options = {"base_url": "http://meterline", "timeout": PATIENCE_S, **options}
    return httpx.Client(transport=transport, **options)


class SidecarProcess:
    """A sidecar with its files in ``folder``; started and stopped by ``with``.

    Args:
        meterline: what stands in ``meterline.toml`` after the ``[sidecar]`` table.
        sidecar: the ``[sidecar]`` table, with its relative paths; more keys of that
            table can be appended to ``SIDECAR``.
        clock: rehearse: what the clock's file says; ``set_clock`` changes it.
        environment: more variables; ``METERLINE_*`` of this process are not inherited.
    """

    def __init__(
        self,
        folder: Path,
        *,
        meterline: str = METERLINE,
        pricing: str = PRICING,
        sidecar: str = SIDECAR,
        clock: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.config = folder / "meterline.toml"
        self.socket = folder / "meterline.sock"
        self.database = folder / "meterline.db"
        self.spool_dir = folder / "spool"
        self.http = folder / "http.sock"
        self.log = folder / "sidecar.log"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("METERLINE_")},
            **(environment or {}),
        }
        self._clock = None if clock is None else folder / "clock"
        self._process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []
        """A command to start it under, such as ``strace``."""
        self.config.write_text(sidecar + meterline)
        (folder / "pricing.toml").write_text(pricing)
        if clock is not None:
            self.set_clock(clock)

    def __enter__(self) -> Self:
        """Start, and wait until it is ready."""
        return self.start()

    def __exit__(self, *_error: object) -> None:
        """End it, if it still runs."""
        if self._process is not None:
            self.kill()

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def command(self) -> list[str]:
        """The command line that starts it."""
        clock = [] if self._clock is None else ["--clock", str(self._clock)]
        return [*MODULE, "run", "--config", str(self.config), *clock]

    def start(self) -> Self:
        """Start (again) on the same files, and wait until it is ready."""
        self.launch()
        self.until_ready()
        return self

    def until_ready(self) -> None:
        """Wait until a sidecar that was launched is ready."""
        until(self._is_ready)

    def launch(self) -> None:
        """Start (again) on the same files, and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix, *self.command],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self) -> int:
        """Wait until it ends by itself; return the exit code."""
        assert self._process is not None, "not started"
        process, self._process = self._process, None
        return process.wait(PATIENCE_S)

    def stop(self) -> int:
        """Send SIGTERM; return the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self._end(signal.SIGKILL)

    def set_clock(self, text: str) -> None:
        """Set the rehearsal clock: an RFC 3339 time, or an offset in seconds."""
        assert self._clock is not None, "made without a clock"
        fresh = self._clock.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._clock)

    def client(self) -> httpx.Client:
        """Return an HTTP client of its API."""
        return unix_client(self.http)

    def get(self, path: str, **params: str | int) -> Any:
        """Return what the API answers, as JSON; anything but 200 is an error."""
        with self.client() as client:
            response = client.get(path, params=params)
            assert response.status_code == 200, response.text
            return response.json()

    def until_counted(self, n_events: int) -> None:
        """Wait until so many events are stored and added up; more may be on the way."""

        def is_counted() -> bool:
            status = self.get("/status")
            behind = status["aggregation"]["behind_events"]
            return bool(status["events"]["ingested"] - behind >= n_events)

        until(is_counted)

    def meterline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another ``meterline`` command on this sidecar's configuration."""
        return meterline(*arguments, environment={"METERLINE_CONFIG": str(self.config)})

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"it ended at its start:\n{self.log.read_text()}")
        # httpx leaves its socket open when nobody listens, which is a warning here.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as attempt:
            if attempt.connect_ex(str(self.http)) != 0:
                return False
        with self.client() as client:
            return client.get("/readyz").status_code == 200

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None, "not started"
        process, self._process = self._process, None
        process.send_signal(number)
        return process.wait(PATIENCE_S)


MODULE: Final = (
    *(sys.executable, "-c"),
    f"import sys; sys.modules.update(dict.fromkeys({ABSENT}));"
    " from meterline_sidecar.__main__ import main; main()",
)


def meterline(
    *arguments: str,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> subprocess.CompletedProcess[str]:
    """Run one ``meterline`` command to its end and return what it printed."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("METERLINE_")}
    env = {**inherited, **(environment or {})}
    if not any(name.startswith("PYTHON") for name in environment or ()):
        where = str(cwd or Path.cwd())
        return forked().run(Command([*arguments], where, env, timeout_s))
    return subprocess.run(  # Python reads these when it starts
        [*MODULE, *arguments],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
