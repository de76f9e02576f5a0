"""What happened in a soak, and what was wrong."""

import threading
import time
from collections import Counter
from pathlib import Path


class Journal:
    """Lines with the second of each, in a file and on the terminal; any thread writes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", buffering=1)
        self._start_s = time.monotonic()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        """What happened how often."""
        self.failures: list[str] = []
        self.pages: Counter[int] = Counter()
        """What was answered how often, by status."""
        self.page_seconds: list[float] = []
        """How long pages took that nothing disturbed."""

    @property
    def passed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start_s

    def note(self, what: str, detail: str = "") -> None:
        """Note that something happened; it is counted by ``what``."""
        with self._lock:
            self.counts[what] += 1
            self._write(f"{what} {detail}".rstrip())

    def fail(self, text: str) -> None:
        """Note that something is not as it must be."""
        with self._lock:
            self.failures.append(text)
            self._write(f"FAILED {text}")
            print(f"FAILED {text}", flush=True)  # noqa: T201 - a command

    def say(self, text: str) -> None:
        """Print a line for whoever looks."""
        with self._lock:
            self._write(text)
            print(text, flush=True)  # noqa: T201 - a command

    def _write(self, text: str) -> None:
        self._file.write(f"{self.passed_s:8.1f} {text}\n")
