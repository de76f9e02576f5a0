# pyright: basic
# schemathesis leaves half of its generics open.
"""``/openapi.json`` is true: whatever it allows is answered as it says, and not else."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    negative_data_rejection,
    positive_data_acceptance,
)

from tests.producer import event
from tests.web.live import LiveSidecar

CASES = int(os.environ.get("METERLINE_FUZZ_CASES", "120"))
"""Over all operations; ``METERLINE_FUZZ_CASES=10000`` for a long look."""
SECRETS = ("Traceback", "sqlite", 'File "', "meterline.db-wal")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSidecar]:
    fast = "http_requests_per_s = 1000000\n"
    with LiveSidecar(tmp_path_factory.mktemp("live"), sidecar=fast) as sidecar:
        sidecar.ship(event(), event(quantities={"tokens": 5}), event(subject=None))
        sidecar.until_counted(3)
        yield sidecar


def test_every_case_is_answered_as_the_document_says(live: LiveSidecar) -> None:
    schema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
    results = list(schema.get_all_operations())
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == len(results)
    modes = list(GenerationMode)
    n_each = max(1, CASES // len(operations) // len(modes))
    session = requests.Session()

    for operation in operations:
        has_parameters = any(operation.iter_parameters())
        for mode in modes if has_parameters else [GenerationMode.POSITIVE]:

            @seed(1)
            @settings(
                max_examples=n_each,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=[
                    HealthCheck.too_slow,
                    HealthCheck.filter_too_much,
                ],
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case: Case[Any]) -> None:
                response = case.call(session=session)
                # A text that is no time, or a customer that is not there, fits the
                # document and is refused with a reason all the same; a number in
                # place of a text cannot be told apart in a URL.
                case.validate_response(
                    response,
                    excluded_checks=[positive_data_acceptance, negative_data_rejection],
                )
                assert not any(secret in response.text for secret in SECRETS)

            holds()
