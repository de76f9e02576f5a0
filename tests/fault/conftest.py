"""Fault tests print the seed of their random moments, and repeat from it."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.fuzz import Fuzz
from tests.fault.host import IS_SOAK, Host
from tests.postgres_server import PostgresServer, started

SOAK_TIMEOUT_S = 7200


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if IS_SOAK and item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(SOAK_TIMEOUT_S))


@pytest.fixture
def chance() -> random.Random:
    """Random moments; ``SEED=n`` repeats those of an earlier run."""
    seed = int(os.environ.get("SEED") or random.randrange(2**32))
    print(f"SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """Run a server of the test's own: it is killed."""
    with started(15) as one:
        yield one


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with Host(tmp_path) as host:
        yield host


@pytest.fixture
def fuzz() -> Iterator[Fuzz]:
    fuzz = Fuzz()
    yield fuzz
    print(f"SEED={fuzz.seed} after {fuzz.n_cases} cases")  # noqa: T201 - as above
