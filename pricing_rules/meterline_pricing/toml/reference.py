"""The reference of a TOML file as Markdown, made of the shapes that read it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final, cast

from msgspec import NODEFAULT, Struct
from msgspec.structs import fields

from meterline_pricing.toml.shape import (
    Key,
    Nested,
    NestedMany,
    Plain,
    Shape,
    Tagged,
)

WORDS: Final = {"boolean": "true or false", "object": "table", "string": "text"}
HEAD: Final = "| key | value | default | meaning |\n|---|---|---|---|\n"


class Row(Struct, frozen=True, kw_only=True):
    """One key, as people read it."""

    name: str
    value: str
    default: str
    meaning: str


class Section(Struct, frozen=True, kw_only=True):
    """One table of the file, or what one of its variants has more."""

    header: str
    """How it is written: ``[sidecar]``, ``[[meter]]``, ``model = "flat"``."""
    level: int
    """How deep its heading is, from 2."""
    description: str
    keys: tuple[Row, ...]


def sections(root: Plain) -> tuple[Section, ...]:
    """Return every table of a file once, in the order to read them in."""
    headers = dict(_headers("", root.keys, {root.name}))
    return tuple(_sections(root.keys, headers))


def markdown(intro: str, tables: Sequence[Section]) -> str:
    """Return a page: ``intro``, then a table of keys for each section."""
    parts = [intro]
    for section in tables:
        parts.append(f"\n{'#' * section.level} `{section.header}`\n\n")
        if section.description:
            parts.append(f"{section.description}\n\n")
        if section.keys:
            parts.append(HEAD)
        parts += [
            f"| `{row.name}` | {row.value} | {row.default} | {row.meaning} |\n"
            for row in section.keys
        ]
    return "".join(parts)


def default_text(value: object) -> str:
    """Return a default as it would be written in the file; empty for none at all."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case int() | Decimal():
            return f"`{value}`"
        case str() if value:
            return f'`"{value}"`'
        case date() if value != date.min:
            return f"`{value}`"
        case tuple() if value:
            items = map(default_text, cast("tuple[object, ...]", value))
            return f"`[{', '.join(item.strip('`') for item in items)}]`"
        case _:
            return ""


def value_text(schema: Mapping[str, Any]) -> str:
    """Return what a value may be, in words, from its JSON Schema."""
    match schema:
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"oneOf": choices} | {"anyOf": choices}:
            return ", or ".join(value_text(choice) for choice in choices)
        case {"$ref": _}:
            return "table"
        case {"type": "array", "items": {"$ref": _}}:
            return "array of tables"
        case {"type": "array", "items": items}:
            return f"array of {value_text(items)}"
        case {"type": "object", "additionalProperties": values}:
            return f"table of {value_text(values)}"
        case {"type": "integer", "minimum": minimum, "maximum": maximum}:
            return f"integer, {minimum:,} to {maximum:,}"
        case {"type": ["integer", "string"]}:
            return "number"
        case {"format": "date"}:
            return "date"
        case _:
            return WORDS[schema["type"]]


def _headers(
    prefix: str, keys: Sequence[Key], seen: set[str]
) -> Iterator[tuple[str, str]]:
    """Yield every shape's name, and the header under which it is told first."""
    for key in keys:
        shape = _shape(key)
        if shape is None or shape.name in seen:
            continue
        seen.add(shape.name)
        name = f"{prefix}{key.name}"
        is_array = isinstance(key.value, NestedMany)
        yield shape.name, f"[[{name}]]" if is_array else f"[{name}]"
        yield from _headers(f"{name}.", shape.own_keys(), seen)


def _sections(keys: Sequence[Key], headers: dict[str, str]) -> Iterator[Section]:
    """Yield the sections of the tables among ``keys``; each takes its header along."""
    todo = dict(headers)
    waiting = list(reversed(keys))
    while waiting:
        key = waiting.pop()
        shape = _shape(key)
        if shape is None or shape.name not in todo:
            continue
        header = todo.pop(shape.name)
        rows = tuple(_rows(shape.own_keys(), shape.told_by(), headers=headers))
        if isinstance(shape, Tagged):
            rows = (_tag_row(shape), *rows)
        yield Section(
            header=header, level=2, description=_told(shape) or key.help, keys=rows
        )
        if isinstance(shape, Tagged):
            yield from _variants(shape)
        waiting.extend(reversed(shape.own_keys()))


def _variants(shape: Tagged) -> Iterator[Section]:
    """Yield what each variant has beside the shared keys, its tables' keys included."""
    for name, variant in shape.variants.items():
        yield Section(
            header=f'{shape.tag} = "{name}"',
            level=3,
            description=_told(variant),
            keys=tuple(_rows(variant.keys, variant.told_by())),
        )


def _tag_row(shape: Tagged) -> Row:
    return Row(
        name=shape.tag,
        value=value_text({"enum": list(shape.variants)}),
        default=default_text(shape.default) or "required",
        meaning="The price model, which decides which of the keys below apply.",
    )


def _rows(
    keys: Sequence[Key],
    made: type[Struct] | None,
    *,
    headers: Mapping[str, str] | None = None,
    prefix: str = "",
) -> Iterator[Row]:
    """Yield a row for each key; without ``headers``, those of its tables as well."""
    defaults = {field.name: field.default for field in fields(made)} if made else {}
    for key in keys:
        default: Any = defaults.get(key.field or key.name, NODEFAULT)
        if key.is_required:
            shown = "required"
        else:
            shown = default_text(default) if key.default is None else key.default
        yield Row(
            name=prefix + key.name,
            value=value_text(key.value.schema()),
            default=shown,
            meaning=_meaning(key, headers or {}),
        )
        shape = _shape(key)
        if shape is not None and headers is None:
            dots = "[]." if isinstance(key.value, NestedMany) else "."
            inner = f"{prefix}{key.name}{dots}"
            yield from _rows(shape.own_keys(), shape.told_by(), prefix=inner)


def _meaning(key: Key, headers: Mapping[str, str]) -> str:
    shape = _shape(key)
    more = ""
    if shape is not None and shape.name in headers:
        header = headers[shape.name]
        more = "" if f"`{header}`" in key.help else f"See `{header}`."
    elif isinstance(shape, Tagged):
        usual = f" (`{shape.default}` without one)" if shape.default else ""
        more = f"With a `{shape.tag}`{usual} and its keys, as above."
    return f"{key.help} {more}".strip()


def _shape(key: Key) -> Shape | None:
    value = key.value
    return value.shape() if isinstance(value, Nested | NestedMany) else None


def _told(shape: Shape) -> str:
    """Return what a shape is: the first paragraph of its struct's docstring."""
    made = shape.told_by()
    first = ((made.__doc__ if made else None) or "").partition("\n\n")[0]
    return " ".join(first.split()).replace("``", "`")
