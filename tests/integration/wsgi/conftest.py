"""A fake sidecar, a WSGI middleware that ships to it, and a server that keeps the rules."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

from meterline.wsgi import MeterMiddleware
from tests.fake_sidecar import FakeSidecar

Metered = Callable[..., MeterMiddleware]


class Answer(NamedTuple):
    """What a server has got from an app."""

    status: str
    body: bytes


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    with FakeSidecar(tmp_path / "s") as running:
        yield running


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    """Return a function that wraps an app; what it wraps is closed at the end."""
    made: list[MeterMiddleware] = []

    def wrap(app: Any, **options: Any) -> MeterMiddleware:
        where: dict[str, Any] = {
            "socket": tmp_path / "s",
            "spool_dir": tmp_path / "spool",
        }
        middleware = MeterMiddleware(app, **{**where, **options})
        made.append(middleware)
        return middleware

    yield wrap
    for middleware in made:
        middleware.meter.close(timeout_s=0.5)


def call(
    app: Any,
    path: str = "/",
    *,
    body: bytes = b"",
    pieces: int | None = None,
    **environ: Any,
) -> Answer:
    """Serve one request as a strict server does: both sides are checked.

    Args:
        pieces: how many pieces of the body the client takes before it leaves.
        environ: more of what the server says.
    """
    said: list[str] = []
    written: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Any:
        said.append(status)
        return written.append

    asked: dict[str, Any] = {
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "wsgi.input": BytesIO(body),
        "CONTENT_LENGTH": str(len(body)) if body else "",
        **environ,
    }
    setup_testing_defaults(asked)
    result: Any = validator(app)(asked, start_response)
    try:
        taken: list[bytes] = []
        for piece in result:
            taken.append(piece)
            if len(taken) == pieces:
                break
        return Answer(said[-1], b"".join([*written, *taken]))
    finally:
        result.close()
