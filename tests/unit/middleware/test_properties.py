"""What may be a property, and what becomes of more than an event can have."""

from enum import IntEnum, StrEnum
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterline import properties
from meterline.events import (
    METHOD_CHARS_MAX,
    PARTS_MAX,
    PROPERTIES_MAX,
    PROPERTY_CHARS_MAX,
    PROPERTY_NAME_CHARS_MAX,
    QUANTITIES_MAX,
    QUANTITY_MAX,
    QUANTITY_NAME_CHARS_MAX,
    RESERVED_NAMES,
    ROUTE_CHARS_MAX,
    SUBJECT_CHARS_MAX,
    TIME_MS_MAX,
)
from meterline.properties import BYTES_MAX, Properties, exact_properties
from meterline.usage_event import UsageEvent
from meterline.wire import RECORD_BYTES_MAX


class Model(StrEnum):
    LARGE = "large"


class Size(IntEnum):
    SEVEN = 7

    def __str__(self) -> str:
        return "seven"


class Loud(str):
    def __str__(self) -> str:
        return self.upper()


class Whole:
    """An integer of another library."""

    def __index__(self) -> int:
        return 250


def angry() -> str:
    """Return a text that cannot be asked what it is."""

    def refuse(_text: object) -> type:
        raise RuntimeError

    made: str = type("Angry", (str,), {"__class__": property(refuse)})("large")
    return made


def liar() -> object:
    """Return what says that it is a number, and is none."""
    made: object = type("Liar", (), {"__class__": int})()
    return made


GOOD: list[tuple[object, str]] = [
    ("large", "large"),
    ("K\u00f6ln \U0001d518", "K\u00f6ln \U0001d518"),
    ("x" * PROPERTY_CHARS_MAX, "x" * PROPERTY_CHARS_MAX),
    (True, "true"),
    (False, "false"),
    (0, "0"),
    (-5, "-5"),
    (10 ** (PROPERTY_CHARS_MAX - 1), "1" + "0" * (PROPERTY_CHARS_MAX - 1)),
    (Model.LARGE, "large"),
    (Size.SEVEN, "7"),
    (Loud("large"), "large"),
    (Whole(), "250"),
]
BAD: list[object] = [
    *("", "x" * (PROPERTY_CHARS_MAX + 1), "\udcff", None, 1.5, b"large", ["x"], {}),
    *(10**PROPERTY_CHARS_MAX, -(10 ** (PROPERTY_CHARS_MAX - 1)), 10**5000, object()),
]


@pytest.mark.parametrize(("value", "text"), GOOD, ids=range(len(GOOD)))
def test_a_property_is_recorded_as_its_text(value: object, text: str) -> None:
    for _ in range(2):  # a name that is known takes another way
        own, problem = exact_properties({"model": value})

        assert (own, problem) == ({"model": text}, "")
        assert type(own["model"]) is str


@pytest.mark.parametrize("value", BAD, ids=range(len(BAD)))
def test_what_is_no_property_is_left_out_with_a_reason(value: object) -> None:
    exact_properties({"model": "x"})

    own, problem = exact_properties({"model": value, "region": "eu"})

    assert own == {"region": "eu"}
    assert problem.startswith("a property must ")


def test_a_class_may_answer_as_it_likes() -> None:
    assert exact_properties({"model": angry()}) == ({"model": "large"}, "")
    assert exact_properties({"model": liar()})[0] == {}


LONG_NAME: Final = "m" * (PROPERTY_NAME_CHARS_MAX + 1)
NO_NAMES: Final = ("", "Model", "5", "a-b", "a.b", "a b", "a\n", "m\u00f6", "\udcff")


@pytest.mark.parametrize("name", [*NO_NAMES, *sorted(RESERVED_NAMES), LONG_NAME])
def test_not_every_name_is_one(name: str) -> None:
    for _ in range(2):
        own, problem = exact_properties({name: "x", "region": "eu"})

        assert own == {"region": "eu"}
        assert "property" in problem


@pytest.mark.parametrize("name", ["_", "a1", "m" * PROPERTY_NAME_CHARS_MAX, "name"])
def test_these_are(name: str) -> None:
    assert exact_properties({name: "x"}) == ({name: "x"}, "")


def test_whoever_makes_up_names_fills_no_memory() -> None:
    for n in range(2_000):
        exact_properties({f"p{n}": "x"})

    assert len(properties._good_names) <= 1_000  # pyright: ignore[reportPrivateUsage]
    assert exact_properties({"p1999": "x"}) == ({"p1999": "x"}, "")


def test_equal_properties_are_one_part_in_whatever_order() -> None:
    found = Properties()

    found.add("tokens", 5, {"model": "large", "region": "eu"})
    found.add("tokens", 1, {"model": "small"})
    found.add("tokens", 7, {"region": "eu", "model": "large"})
    found.add("words", 1, {"model": "small"})

    assert found.take() == (
        None,
        [
            ["tokens", 12, {"model": "large", "region": "eu"}],
            ["tokens", 1, {"model": "small"}],
            ["words", 1, {"model": "small"}],
        ],
    )
    assert found.take() == (None, None)


def test_the_sixteenth_property_is_taken_and_no_other() -> None:
    found = Properties()
    for n in range(PROPERTIES_MAX):
        assert found.put({f"p{n}": "x"}) == ""

    assert found.put({"more": "x"}) == properties.TOO_MANY
    assert found.put({"p0": "y"}) == ""  # it is there already
    assert found.add("n", 1, {"p0": "z"}) == ""
    assert found.add("n", 1, {"more": "x", "p1": "z"}) == properties.TOO_MANY
    assert found.add("n", 1, {"more": "x"}) == properties.TOO_MANY

    whole, parts = found.take()
    assert whole == {"p0": "y"} | {f"p{n}": "x" for n in range(1, PROPERTIES_MAX)}
    assert parts == [["n", 1, {"p0": "z"}], ["n", 1, {"p1": "z"}]]


def test_a_record_has_sixteen_with_those_of_its_event() -> None:
    found = Properties({"tenant": "eu-1"})

    problem = found.add("n", 1, {f"p{n}": "x" for n in range(PROPERTIES_MAX)})

    assert problem == properties.TOO_MANY
    assert found.take()[1] == [["n", 1, {f"p{n}": "x" for n in range(15)}]]


def test_the_last_part_that_there_is_room_for_is_taken() -> None:
    found = Properties()
    for n in range(PARTS_MAX):
        assert found.add("n", 1, {"p": n}) == ""

    assert found.add("n", 1, {"p": PARTS_MAX}) == properties.TOO_MANY_PARTS
    assert found.add("n", 1, {"p": 0}) == ""  # it is there already

    parts = found.take()[1]
    assert parts is not None
    assert [part[1] for part in parts] == [2] + [1] * (PARTS_MAX - 1)


long_texts = st.text("\U0001d518", min_size=1, max_size=PROPERTY_CHARS_MAX)
names = st.from_regex(r"[a-z_][a-z0-9_]{0,63}\Z").filter(
    lambda name: name not in RESERVED_NAMES
)
given_ones = st.dictionaries(names, long_texts | st.text(), max_size=20)


@given(st.lists(given_ones, max_size=4), st.lists(given_ones, max_size=40))
def test_an_event_with_every_field_at_its_limit_fits_into_a_record(
    wholes: list[dict[str, str]], of_records: list[dict[str, str]]
) -> None:
    found = Properties()
    wide = "\U0001d518"
    quantities = {
        f"{n:02}{wide * (QUANTITY_NAME_CHARS_MAX - 2)}": QUANTITY_MAX
        for n in range(QUANTITIES_MAX)
    }
    for n, own in enumerate(of_records):
        found.add([*quantities][n % QUANTITIES_MAX], QUANTITY_MAX // 40, own)
    for whole in wholes:
        found.put(whole)

    payload = msgspec.msgpack.encode(
        (
            *(TIME_MS_MAX, 2, wide * SUBJECT_CHARS_MAX, wide * METHOD_CHARS_MAX),
            *(wide * ROUTE_CHARS_MAX, 999, *[QUANTITY_MAX] * 3, 2**31 - 1, quantities),
            *found.take(),
        )
    )

    assert len(payload) <= RECORD_BYTES_MAX
    event = msgspec.msgpack.decode(payload, type=UsageEvent)
    written = msgspec.msgpack.encode((event.properties or {}, event.parts or []))
    assert len(written) <= BYTES_MAX + 100
