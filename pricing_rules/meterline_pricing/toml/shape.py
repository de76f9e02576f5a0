"""What a TOML file may say, declared once: read by ``load`` and shown by ``schema``.

A shape is a table: its keys, and what is made of them. A key that is not written is
not passed on, so that defaults stand in one place, the structs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from meterline_pricing.errors import PricingError, nearest
from meterline_pricing.toml.source import Kind, Table, one_of

Schema = dict[str, Any]


class Value(Protocol):
    """How one key is read, and what a JSON Schema says of it."""

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return the value, or a harmless one after noting what is wrong."""
        ...

    def schema(self) -> Schema:
        """Return the JSON Schema of the value."""
        ...


class Key(Struct, frozen=True):
    """One key of a table."""

    name: str
    value: Value
    help: str = ""
    is_required: bool = False
    field: str = ""
    """What ``make`` calls it; the same as in the file where it is empty."""


class One(Struct, frozen=True):
    """A value of some kind."""

    kind: Kind[Any]

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return the value."""
        return table.need(key, self.kind)

    def schema(self) -> Schema:
        """Return the JSON Schema of the value."""
        return dict(self.kind.schema)


class Many(Struct, frozen=True):
    """An array of values of some kind."""

    kind: Kind[Any]

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return the values."""
        return table.items(key, self.kind)

    def schema(self) -> Schema:
        """Return the JSON Schema of the array."""
        return {"type": "array", "items": dict(self.kind.schema)}


class Named(Struct, frozen=True):
    """A table with free keys and values of some kind."""

    kind: Kind[Any]

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return the values by their keys."""
        return table.mapping(key, self.kind)

    def schema(self) -> Schema:
        """Return the JSON Schema of the table."""
        return {"type": "object", "additionalProperties": dict(self.kind.schema)}


class Nested(Struct, frozen=True):
    """A table of some shape; ``shape`` is called late, so that shapes can recur."""

    shape: Callable[[], "Shape"]

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return what the shape makes of the table."""
        return self.shape().read(table.table(key))

    def schema(self) -> Schema:
        """Return a reference to the shape."""
        return {"$ref": f"#/$defs/{self.shape().name}"}


class NestedMany(Struct, frozen=True):
    """An array of tables of some shape."""

    shape: Callable[[], "Shape"]

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return what the shape makes of each table."""
        if is_required and key not in table:
            table.report(key, f"missing: expected an array of tables [[{key}]]")
        return tuple(self.shape().read(element) for element in table.tables(key))

    def schema(self) -> Schema:
        """Return the JSON Schema of the array."""
        items = {"$ref": f"#/$defs/{self.shape().name}"}
        return {"type": "array", "items": items}


class Shape(Protocol):
    """A table: how it is read as a whole, and its JSON Schema."""

    @property
    def name(self) -> str:
        """What the schema's ``$defs`` call it."""
        ...

    def read(self, table: Table) -> Any:
        """Return what the table stands for, or a harmless stand-in; and close it."""
        ...

    def schema(self) -> Schema:
        """Return the JSON Schema of the table."""
        ...

    def inner(self) -> Sequence["Shape"]:
        """Return the shapes that this one refers to."""
        ...


StandIn = Callable[[Table, Mapping[str, Any]], Any]
"""Returns what to go on with where ``make`` failed, given the table and its values."""


def nothing(table: Table, values: Mapping[str, Any]) -> None:
    """Stand in for what nothing else depends on."""


class Plain(Struct, frozen=True):
    """A table with fixed keys."""

    name: str
    keys: tuple[Key, ...]
    make: Callable[..., Any]
    """Given the values by field. Raises ``PricingError`` with keys by field."""
    stand_in: StandIn = nothing
    line_field: str = ""
    """The field that gets the table's line in the file, if any."""

    def read(self, table: Table) -> Any:
        """Return what is made of the table."""
        values = read_keys(table, self.keys)
        if self.line_field:
            values[self.line_field] = table.source.line(table.path)
        table.close()
        return built(table, self, values)

    def schema(self) -> Schema:
        """Return the JSON Schema of the table."""
        return object_schema(self.keys)

    def inner(self) -> Sequence[Shape]:
        """Return the shapes of the keys."""
        return inner_shapes(self.keys)


class Tagged(Struct, frozen=True):
    """A table whose key ``tag`` says which further keys it has.

    First the variant makes something of its keys; then ``make`` gets that under
    ``field``, beside the keys that all variants share. Where a variant has a key of
    the same name, it is the variant's.
    """

    name: str
    tag: str
    variants: Mapping[str, Plain]
    shared: tuple[Key, ...]
    field: str
    make: Callable[..., Any]
    stand_in: StandIn
    default: str | None = None
    """The variant of a table without ``tag``; without it, the tag is required."""

    def read(self, table: Table) -> Any:
        """Return what is made of the table.

        A variant that is misspelt is taken for the nearest one, so that what else is
        wrong is told as well. Where none is near, only the shared keys are read, and a
        key may be of any variant.
        """
        kind = one_of(self.tag, self.variants)
        if self.default is not None and self.tag not in table:
            meant = self.default
        else:
            meant = table.need(self.tag, kind)
        if not table.is_sound(self.tag):
            meant = nearest(str(table.data.get(self.tag, "")), self.variants) or ""
        variant = self.variants.get(meant)
        if variant is not None:
            inner = built(table, variant, read_keys(table, variant.keys))
            values = read_keys(table, self._shared_by(variant))
            table.close()
        else:
            inner = next(iter(self.variants.values())).stand_in(table, {})
            values = read_keys(table, self.shared)
            table.close(tuple(k.name for v in self.variants.values() for k in v.keys))
        values[self.field] = inner
        return built(table, self, values)

    def _shared_by(self, variant: Plain) -> tuple[Key, ...]:
        own = {key.name for key in variant.keys}
        return tuple(key for key in self.shared if key.name not in own)

    def schema(self) -> Schema:
        """Return the JSON Schema of the table: one of the variants."""
        choices: list[Schema] = []
        for name, variant in self.variants.items():
            choice = object_schema((*variant.keys, *self._shared_by(variant)))
            choice["properties"][self.tag] = {"const": name}
            if name != self.default:
                choice["required"].append(self.tag)
            choices.append(choice)
        return {"oneOf": choices}

    def inner(self) -> Sequence[Shape]:
        """Return the shapes of all variants' keys, and of the shared ones."""
        keys = [key for variant in self.variants.values() for key in variant.keys]
        return inner_shapes((*self.shared, *keys))


def read_keys(table: Table, keys: Sequence[Key]) -> dict[str, Any]:
    """Return the values of the keys that are written, and of those that must be."""
    return {
        key.field or key.name: key.value.read(
            table, key.name, is_required=key.is_required
        )
        for key in keys
        if key.is_required or table.asks(key.name)
    }


def built(table: Table, shape: "Plain | Tagged", values: Mapping[str, Any]) -> Any:
    """Return what a shape makes of ``values``; note what it finds wrong with them."""
    try:
        return shape.make(**values)
    except PricingError as error:
        keys = shape.keys if isinstance(shape, Plain) else shape.shared
        table.report_all(error, {key.field: key.name for key in keys if key.field})
        return shape.stand_in(table, values)


def object_schema(keys: Sequence[Key]) -> Schema:
    """Return the JSON Schema of a table with these keys and no others."""
    properties: dict[str, Schema] = {}
    for key in keys:
        properties[key.name] = key.value.schema()
        if key.help:
            properties[key.name]["description"] = key.help
    return {
        "type": "object",
        "properties": properties,
        "required": [key.name for key in keys if key.is_required],
        "additionalProperties": False,
    }


def inner_shapes(keys: Sequence[Key]) -> list[Shape]:
    """Return the shapes that some keys refer to."""
    return [
        key.value.shape() for key in keys if isinstance(key.value, Nested | NestedMany)
    ]
