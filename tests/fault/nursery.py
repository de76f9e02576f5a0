"""Runs pytest again and again, each time in a fork that has not loaded Meterline yet.

    python -m tests.fault.nursery

Whatever the tests need of others is loaded once: that takes longer than most of them.
Reads a job a line, as JSON, and answers with the exit code and what was printed.
"""

import importlib
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from tests.patience import VARIABLE

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("meterline", "meterline_pricing", "meterline_sidecar")
LOADED: Final = (
    *("aiohttp", "aiosqlite", "h11", "hypothesis", "httpx", "jinja2", "msgspec"),
    *("prometheus_client", "pytest", "rich.console", "starlette.applications"),
    *("stripe", "trio", "uvicorn"),
)
PLUGINS: Final = ("pytest_asyncio.plugin", "pytest_timeout", "no:cacheprovider")


class Ran(NamedTuple):
    """How a run of pytest ended."""

    code: int
    printed: str
    """With the files that Meterline was loaded from in the last line."""


class Nursery:
    """The process from which each run is forked."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fault.nursery"],
            cwd=ROOT,
            env={
                **os.environ,
                # Those that no mutant needs take twice as long to load as most tests.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                # A fault that is found by chance may not be found today.
                "CI": "true",
                "SEED": "1",
                # One that waits for what a fault prevents is to fail soon.
                VARIABLE: "20",
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, roots: list[str], *arguments: str) -> Ran:
        """Run pytest with the packages that lie in ``roots``, before any other."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([roots, arguments]) + "\n")
        self._process.stdin.flush()
        return Ran(*json.loads(self._process.stdout.readline()))


def _fork(roots: list[str], arguments: list[str], printed: io.BufferedRandom) -> int:
    """Run pytest in a child; return its exit code."""
    pid = os.fork()
    if pid == 0:
        os.dup2(printed.fileno(), 1)
        os.dup2(printed.fileno(), 2)
        sys.path[:0] = roots
        os.environ["PYTHONPATH"] = os.pathsep.join(roots)
        code = importlib.import_module("pytest").main(
            ["-q", *(f"-p{plugin}" for plugin in PLUGINS), *arguments]
        )
        files = (getattr(sys.modules.get(name), "__file__", "") for name in PACKAGES)
        sys.stdout.write(" ".join(files))
        sys.stdout.flush()
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    """Take one job after the other."""
    for name in LOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        roots, arguments = json.loads(line)
        with tempfile.TemporaryFile() as printed:
            code = _fork(roots, arguments, printed)
            printed.seek(0)
            text = printed.read().decode(errors="replace")
        sys.stdout.write(json.dumps([code, text]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
