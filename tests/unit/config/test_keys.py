"""How a field of a struct becomes a key of ``meterline.toml``."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from meterline_pricing.toml.shape import Plain
from meterline_pricing.toml.source import Source
from meterline_sidecar.config.keys import keys_of, variables_of
from meterline_sidecar.config.kinds import URL
from meterline_sidecar.config.places import placed

Percent = Annotated[int, Meta(ge=1, le=100)]


class Everything(msgspec.Struct, frozen=True, kw_only=True):
    """One field of each kind."""

    name: Annotated[str, Meta(description="A name.")]
    made: Annotated[str, Meta(description="Of others.", extra={"default": "others"})]
    ways: Annotated[tuple[Literal["a", "b"], ...], Meta(description="Ways.")] = ()
    levels: Annotated[tuple[Percent, ...], Meta(description="Levels.")] = (80, 100)
    url: Annotated[str | None, Meta(description="A URL.", extra={"kind": URL})] = None
    share: Annotated[Percent | None, Meta(description="A share.")] = 7
    since: Annotated[date | None, Meta(description="A day.")] = None
    price: Annotated[Decimal | None, Meta(description="A price.")] = None
    is_on: Annotated[bool, Meta(description="A switch.")] = True
    place: Annotated[
        Path, Meta(description="A place.", extra={"variable": "PLACE"})
    ] = Path("there")
    inside: int = 5


KEYS = {key.name: key for key in keys_of(Everything)}
SHAPE = Plain("everything", tuple(KEYS.values()), dict)


def complaints(text: str) -> list[str]:
    source = Source(f'name = "n"\n{text}', file="f.toml")
    SHAPE.read(source.root)
    return [problem.message for problem in source.problems]


def test_what_is_not_described_is_no_key() -> None:
    assert "inside" not in KEYS


def test_a_key_must_be_written_when_nothing_stands_for_it() -> None:
    assert [key.name for key in KEYS.values() if key.is_required] == ["name"]


def test_a_default_stands_once_in_the_struct() -> None:
    assert {key.name: key.default for key in KEYS.values()} == {
        "name": None,
        "made": "others",
        "ways": "",
        "levels": "`[80, 100]`",
        "url": "",
        "share": "`7`",
        "since": "",
        "price": "",
        "is_on": "`true`",
        "place": "",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('ways = ["third"]', "unknown ways `third`; known are: a, b"),
        ("levels = [0]", "expected an integer from 1 to 100, not the integer 0"),
        ("share = 101", "expected an integer from 1 to 100, not the integer 101"),
        ('since = "today"', 'expected a date such as 2026-01-31, not the text "today"'),
        ("price = 0.5", 'a float is not exact: write "0.5" instead of 0.5'),
        ("is_on = 1", "expected true or false, not the integer 1"),
        ("place = 1", "expected a text, not the integer 1"),
        (
            'url = "x"',
            'expected a URL such as https://ops.example.com/hook, not the text "x"',
        ),
    ],
)
def test_the_type_and_its_bounds_say_what_a_value_may_be(
    text: str, message: str
) -> None:
    assert complaints(text) == [message]


def test_a_wrong_value_leaves_the_default() -> None:
    source = Source("share = 0\nplace = 1\n", file="f.toml")

    values = SHAPE.read(source.root)

    assert values["share"] == 7
    assert values["place"] == Path("there")


def test_a_number_without_bounds_is_no_key() -> None:
    class Unbounded(msgspec.Struct):
        n: Annotated[int, Meta(description="Any number.")] = 0

    with pytest.raises(AssertionError, match="n needs bounds"):
        keys_of(Unbounded)


def test_the_environment_is_named_in_the_meaning() -> None:
    ((field, variable, kind),) = variables_of(Everything)

    assert (field, variable) == ("place", "PLACE")
    assert kind.check("here") == Path("here")
    assert KEYS["place"].help == "A place. Environment: PLACE."


def test_every_path_of_a_table_becomes_a_whole_one() -> None:
    config = placed(Everything(name="n", made="m"), Path("/etc"))

    assert config.place == Path("/etc/there")
    assert config.name == "n"
