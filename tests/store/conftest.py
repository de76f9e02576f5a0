from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.store.port import Database
from tests.store.drivers import DRIVERS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver" in metafunc.fixturenames:
        metafunc.parametrize("driver", sorted(DRIVERS))


@pytest.fixture
async def database(driver: str, tmp_path: Path) -> AsyncGenerator[Database]:
    async with DRIVERS[driver](tmp_path) as opened:
        yield opened
