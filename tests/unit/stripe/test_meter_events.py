"""What Stripe is told keeps to Stripe's limits."""

from hypothesis import given
from hypothesis import strategies as st

from meterline_sidecar.stripe.meter_events import (
    VALUE_MAX,
    identifier,
    identifier_of,
    key_of,
    split,
)


@given(st.integers(-(10**19), 10**19))
def test_a_split_value_is_the_value(value: int) -> None:
    parts = list(split(value))

    assert sum(parts) == value
    assert all(abs(part) <= VALUE_MAX for part in parts)


@given(st.text(), st.text(), st.integers(0), st.integers(0), st.integers(0, 99))
def test_a_key_gives_its_identifier_back(
    customer: str, event_name: str, hour_ms: int, part: int, generation: int
) -> None:
    name = identifier(
        "i", customer=customer, event_name=event_name, hour_ms=hour_ms, part=part
    )

    assert len(name) <= 100
    assert identifier_of(key_of(name, generation)) == name


def test_everything_that_tells_parts_apart_is_in_the_identifier() -> None:
    plain = {"customer": "a", "event_name": "b", "hour_ms": 1, "part": 0}
    names = {identifier("i", **plain), identifier("j", **plain)}  # type: ignore[arg-type]
    for change in ({"customer": "c"}, {"event_name": "c"}, {"hour_ms": 2}, {"part": 1}):
        names.add(identifier("i", **plain | change))  # type: ignore[arg-type]

    assert len(names) == 6
