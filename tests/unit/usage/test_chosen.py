"""What a meter counts is said as in its file."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from meterline_sidecar.where import chosen

KEPT: Final[dict[str, Mapping[str, Any] | Sequence[Any]]] = {
    "200-499, !404": (
        {"first": 200, "last": 499},
        {"first": 404, "last": 404, "is_left_out": True},
    ),
    "/v1/*, !/health": ["/v1/*", "!/health"],
    "model = gpt-*, !gpt-test, tier = pro": {
        "model": ["gpt-*", "!gpt-test"],
        "tier": ["pro"],
    },
}


@pytest.mark.parametrize("said", KEPT)
def test_what_a_meter_counts_is_said_as_its_file_says_it(said: str) -> None:
    assert chosen(KEPT[said]) == said
