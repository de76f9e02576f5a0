"""What holds for every test."""

import gc
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from xdist.remote import Producer

from tests import guarantees
from tests.together import Together

# Timing is never asserted: a busy machine is no failure. A build must come out the
# same twice, so there the examples are fixed; everywhere else they are new each time.
settings.register_profile("here", deadline=None, print_blob=True)
settings.register_profile("ci", deadline=None, print_blob=True, derandomize=True)
# pytest --hypothesis-profile thorough: looks far longer for what is rare.
settings.register_profile(
    "thorough", deadline=None, print_blob=True, max_examples=10_000
)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# Tests start many hundreds of processes; where nothing that is compiled may be kept,
# each would compile all of Meterline again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Shells start what runs in the background without Ctrl-C, which all that is started from
# there inherits; some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is on a disk survives the power, which no test turns off: `power.py` plays that.
# In memory, none of a hundred thousand fsyncs waits for a disk that others use, too.
MEMORY: Final = Path("/dev/shm")
MEMORY_BYTES_MIN: Final = 4 << 30  # in a container there are 64 MiB
if (
    MEMORY.is_dir()
    and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN
    and not os.environ.get("SOAK")
):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


class PromisesShown:
    """Fails a whole run in which a test that a guarantee names was left out."""

    def __init__(self, config: pytest.Config) -> None:
        chosen = ("keyword", "markexpr", "lf", "ignore", "deselect", "maxfail")
        self._is_whole = (
            config.args_source is pytest.Config.ArgsSource.TESTPATHS
            and not any(config.getoption(name, None) for name in chosen)
        )
        self._passed: set[str] = set()
        self._skipped: set[str] = set()
        self._missing: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what ran and what did not."""
        if report.skipped:
            self._skipped.add(report.nodeid)
        elif report.when == "call":
            self._passed.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Compare that with the page."""
        if not self._is_whole or session.exitstatus != pytest.ExitCode.OK:
            return
        page = guarantees.PAGE.read_text(encoding="utf-8")
        self._missing = guarantees.not_shown(
            page, passed=self._passed, skipped=self._skipped
        )
        if self._missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Say which."""
        for text in self._missing:
            terminalreporter.write_line(f"ERROR {text}", red=True)


@pytest.hookimpl(optionalhook=True)  # `-p no:xdist` is one that has none
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """Keep together what shares something."""
    return Together(config, log)


def pytest_collection_finish() -> None:
    """Keep what was loaded for all tests out of each look for garbage."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # one that is told of all workers' tests
        config.pluginmanager.register(PromisesShown(config))
