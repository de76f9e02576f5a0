"""Serves requests in a process of its own and says what memory it takes meanwhile.

python -m benchmarks.memory_served FOLDER REQUESTS...

Without a folder (``-``) the app is bare. Prints a line for each number of requests, once
so many were served: the kibibytes of memory that belong to no file, as a spool's map does.
"""

import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path
from typing import Any, Final

MARKS: Final = re.compile(r"^RssAnon:\s+(\d+) kB", re.MULTILINE)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the least that an ASGI app can do."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(message: dict[str, Any]) -> None:
    pass


def _serve(served: Any, i: int) -> None:
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": f"/{i}",
        "headers": [],
    }
    with contextlib.suppress(StopIteration):
        served(scope, _receive, _send).__await__().send(None)


def anonymous_kib() -> int:
    """Return how much memory this process has that is no file's."""
    found = MARKS.search(Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def measured(folder: str, marks: list[int]) -> Iterator[int]:
    """Serve, and yield the memory at each mark."""
    served: Any = app
    if folder != "-":
        # Here, so that its own modules count as well.
        meterline: Any = importlib.import_module("meterline")
        where = {"socket": f"{folder}/meterline.sock", "spool_dir": f"{folder}/spool"}
        served = meterline.MeterMiddleware(app, **where)
    n_served = 0
    for mark in marks:
        while n_served < mark:
            copy_context().run(_serve, served, n_served)
            n_served += 1
        yield anonymous_kib()


if __name__ == "__main__":
    for kib in measured(sys.argv[1], [int(mark) for mark in sys.argv[2:]]):
        sys.stdout.write(f"{kib}\n")
        sys.stdout.flush()
    os._exit(0)  # what waits in the spool is not waited for
