"""A fake sidecar and a middleware that ships to it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meterline import MeterMiddleware
from meterline.asgi_types import ASGIApp
from tests.fake_sidecar import FakeSidecar

Metered = Callable[..., MeterMiddleware]


@pytest.fixture
def sidecar(tmp_path: Path) -> Iterator[FakeSidecar]:
    with FakeSidecar(tmp_path / "s") as running:
        yield running


@pytest.fixture
def metered(tmp_path: Path) -> Iterator[Metered]:
    """Return a function that wraps an app; what it wraps is closed at the end."""
    made: list[MeterMiddleware] = []

    def wrap(app: ASGIApp, **options: Any) -> MeterMiddleware:
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
