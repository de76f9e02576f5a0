"""Values as TOML has them, also where they came as JSON."""

import re
from typing import Final, cast

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


class TomlFloat(str):
    """A TOML float, as it was written. It is never a number here."""

    __slots__ = ()


class JsonDate(str):
    """A text of JSON, which has no dates, that is one where a date is expected."""

    __slots__ = ()


def as_toml(value: object) -> object:
    """Return a value of JSON as TOML has it, where a float is never a number."""
    match value:
        case float():
            return TomlFloat(repr(value))
        case str() if _DATE.fullmatch(value):
            return JsonDate(value)
        case dict():
            tables = cast("dict[str, object]", value)
            return {name: as_toml(inner) for name, inner in tables.items()}
        case list():
            return [as_toml(item) for item in cast("list[object]", value)]
        case _:
            return value
