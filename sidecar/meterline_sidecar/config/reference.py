"""The reference of ``meterline.toml``, made of the descriptions in ``config.py``."""

from typing import Any, Final

import msgspec
from msgspec import inspect

from meterline_sidecar.config.shape import (
    AlertRule,
    AlertsConfig,
    Customer,
    MeterConfig,
    PortalConfig,
    SidecarConfig,
    StripeConfig,
)
from meterline_sidecar.meters import Meter, Where

INTRO: Final = """\
# Configuration

`meterline.toml` says what the sidecar does; `pricing.toml` beside it says what things
cost. `meterline init` writes both, with comments; `meterline check` tells every mistake
in them at once.

A flag stands above the environment, the environment above the file, the file above the
default. Relative paths are relative to the file. An unknown key is an error.

`STATE` is the directory that apps and sidecar share unless told otherwise:
`METERLINE_STATE_DIR`, or `/var/lib/meterline` where that exists, or
`~/.local/state/meterline`.

This page is made of the code by `make docs`.
"""
SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key of the file."""

    name: str
    description: str
    schema: dict[str, Any]
    """What its value may be, as a JSON Schema."""
    default: str | None
    """As people read it; ``None`` where the key must be given."""


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One table of the file, or an array of them."""

    name: str
    is_array: bool
    description: str
    keys: tuple[Key, ...]

    @property
    def header(self) -> str:
        """How it is written: ``[sidecar]``, ``[[meter]]``."""
        return f"[[{self.name}]]" if self.is_array else f"[{self.name}]"


def sections() -> tuple[Section, ...]:
    """Return the tables of ``meterline.toml``, in the order to read them in."""
    return (
        _section("sidecar", SidecarConfig),
        _section("meter", Meter, MeterConfig, is_array=True),
        _section("meter.where", Where),
        _section("customer", Customer, is_array=True),
        _section("stripe", StripeConfig),
        _section("portal", PortalConfig),
        _section("alerts", AlertsConfig),
        _section("alert", AlertRule, is_array=True),
    )


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [INTRO]
    for section in sections():
        parts.append(f"\n## `{section.header}`\n\n{section.description}\n\n")
        parts.append("| key | value | default | meaning |\n|---|---|---|---|\n")
        parts += [
            f"| `{key.name}` | {_kind(key.schema)} | {_default(key)}"
            f" | {key.description} |\n"
            for key in section.keys
        ]
    return "".join(parts)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``meterline.toml``, for editors."""
    tables = {section.name: _table(section) for section in sections()}
    tables["meter"]["items"]["properties"]["where"] = tables.pop("meter.where")
    return {
        "$schema": SCHEMA,
        "title": "meterline.toml",
        "type": "object",
        "properties": tables,
        "additionalProperties": False,
    }


def _section(
    name: str, *structs: type[msgspec.Struct], is_array: bool = False
) -> Section:
    """Return one table; its keys are the fields of all ``structs`` together."""
    keys: list[Key] = []
    for struct in structs:
        described = inspect.type_info(struct)
        assert isinstance(described, inspect.StructType)
        # A field without a description is no key: it is another struct's table.
        keys += [
            _key(field)
            for field in described.fields
            if isinstance(field.type, inspect.Metadata)
        ]
    return Section(
        name=name,
        is_array=is_array,
        description=" ".join((structs[-1].__doc__ or "").split()),
        keys=tuple(keys),
    )


def _key(field: inspect.Field) -> Key:
    metadata: Any = field.type  # of the kind that _section takes
    said: dict[str, Any] = metadata.extra_json_schema
    more: dict[str, str] = metadata.extra or {}
    default = more.get("default")
    if default is None and not field.required:
        default = _default_text(field)
    return Key(
        name=field.encode_name,
        description=said["description"],
        schema={"type": said["type"]} if "type" in said else _schema(metadata.type),
        default=default,
    )


def _default_text(field: inspect.Field) -> str:
    value = field.default
    if value is msgspec.NODEFAULT or value is None or value == () or value == Where():
        return ""
    return msgspec.json.encode(value).decode()


def _schema(kind: inspect.Type) -> dict[str, Any]:
    match kind:
        case inspect.Metadata(type=inner):
            return _schema(inner)
        case inspect.StrType() | inspect.CustomType():  # the only custom one is Path
            return {"type": "string"}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer"}
        case inspect.DecimalType():
            # Exact: a float is refused.
            return {"type": ["integer", "string"]}
        case inspect.DateType():
            return {"type": "string", "format": "date"}
        case inspect.LiteralType(values=values):
            return {"enum": list(values)}
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _schema(item)}
        case inspect.UnionType(types=types):
            (one,) = (t for t in types if not isinstance(t, inspect.NoneType))
            return _schema(one)
        case inspect.StructType():
            return {"type": "object"}
        case _:
            raise AssertionError(f"a key of {kind} has no schema yet")


def _table(section: Section) -> dict[str, Any]:
    """Return the JSON Schema of a table, or of the array of them."""
    table = {
        "type": "object",
        "description": section.description,
        "properties": {
            key.name: {**key.schema, "description": key.description}
            for key in section.keys
        },
        "required": [key.name for key in section.keys if key.default is None],
        "additionalProperties": False,
    }
    return {"type": "array", "items": table} if section.is_array else table


def _kind(schema: dict[str, Any]) -> str:
    """Return what a value may be, in words."""
    match schema:
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in sorted(values))
        case {"type": "array", "items": items}:
            return f"array of {_kind(items)}"
        case {"format": "date"}:
            return "date"
        case {"type": ["integer", "string"]}:
            return "integer, or decimal in quotes"
        case {"type": "string"}:
            return "text"
        case {"type": "object"}:
            return "table"
        case {"type": str(name)}:
            return name
        case _:
            raise AssertionError(f"no words for {schema}")


def _default(key: Key) -> str:
    if key.default is None:
        return "required"
    is_toml = key.default[:1] in ('"', *"0123456789")
    return f"`{key.default}`" if is_toml and key.default else key.default
