from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from meterline_sidecar.store.port import Database
from tests.store.drivers import DRIVERS, drivers_for


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "driver" in metafunc.fixturenames:
        named = metafunc.definition.path.stem
        metafunc.parametrize("driver", drivers_for(named))


@pytest.fixture
async def database(driver: str, tmp_path: Path) -> AsyncGenerator[Database]:
    async with DRIVERS[driver](tmp_path) as opened:
        yield opened
