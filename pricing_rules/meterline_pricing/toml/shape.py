"""What a TOML file may say, declared once: read by ``load`` and shown by ``schema``.

A shape is a table: its keys, and what is made of them. A key that is not written is
not passed on, so that defaults stand in one place, the structs.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Protocol

from msgspec import Struct

from meterline_pricing.errors import PricingError, Problem, nearest
from meterline_pricing.toml.source import Kind, Table, one_of

Schema = dict[str, Any]
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


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
    default: str | None = None
    """What holds where the key is not written, as people read it; ``None`` takes it
    from the field of the struct that ``make`` is."""


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


class OneOrMany(Struct, frozen=True):
    """Values of some kind: one by itself, or an array of them."""

    kind: Kind[Any]

    def read(self, table: Table, key: str, *, is_required: bool) -> Any:
        """Return the values."""
        if isinstance(table.data.get(key), str):
            return (table.need(key, self.kind),)
        return table.items(key, self.kind)

    def schema(self) -> Schema:
        """Return the JSON Schema of a value, or an array of them."""
        one = dict(self.kind.schema)
        return {"anyOf": [one, {"type": "array", "items": one}]}


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

    def own_keys(self) -> tuple[Key, ...]:
        """Return the keys that such a table may have in any case."""
        ...

    def told_by(self) -> type[Struct] | None:
        """Return the struct that tells the defaults, and what the table is, if any."""
        ...


StandIn = Callable[[Table, Mapping[str, Any]], Any]
"""Returns what to go on with where ``make`` failed, given the table and its values."""


def nothing(table: Table, values: Mapping[str, Any]) -> None:
    """Stand in for what nothing else depends on."""


Check = Callable[[Any], Iterable[Problem]]
"""Yields what is wrong with what ``make`` made, with keys as the file has them."""


def all_is_well(made: Any) -> Iterable[Problem]:
    """Find nothing wrong, where ``make`` finds it all."""
    return ()


class Others(Struct, frozen=True):
    """Keys of a table that are none of its fixed ones."""

    key: Key
    """How each is read and told: its own name is what people read in place of theirs,
    its field gets all of them by their names."""
    names: Kind[str]
    """What they may be called."""


class Plain(Struct, frozen=True):
    """A table with fixed keys."""

    name: str
    keys: tuple[Key, ...]
    make: Callable[..., Any]
    """Given the values by field. Raises ``PricingError`` with keys by field."""
    stand_in: StandIn = nothing
    check: Check = all_is_well
    """Given what was made: what the values are wrong for, each right by itself."""
    line_field: str = ""
    """The field that gets the table's line in the file, if any."""
    struct: type[Struct] | None = None
    """Tells the defaults, and what the table is; ``make`` does where it is a struct."""
    refused: Mapping[str, str] = NOTHING
    """Keys that people try and that must not be there, and why."""
    others: Others | None = None
    """Keys that there may be besides."""

    def read(self, table: Table) -> Any:
        """Return what is made of the table."""
        values = read_keys(table, self.keys)
        for key, why in self.refused.items():
            if key in table and table.asks(key):
                table.report(key, why)
        if self.others is not None:
            values |= _read_others(table, self.others, self.keys)
        if self.line_field:
            values[self.line_field] = table.source.line(table.path)
        table.close()
        made = built(table, self, values)
        if problems := tuple(self.check(made)):
            table.report_all(PricingError(problems))
        return made

    def schema(self) -> Schema:
        """Return the JSON Schema of the table."""
        schema = object_schema(self.keys)
        if self.others is not None:
            schema["additionalProperties"] = self.others.key.value.schema()
        return schema

    def inner(self) -> Sequence[Shape]:
        """Return the shapes of the keys."""
        return inner_shapes(self.keys)

    def own_keys(self) -> tuple[Key, ...]:
        """Return all keys."""
        return self.keys if self.others is None else (*self.keys, self.others.key)

    def told_by(self) -> type[Struct] | None:
        """Return ``struct``, or what is made where that is one."""
        return self.struct or struct_in(self.make)


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

    def own_keys(self) -> tuple[Key, ...]:
        """Return the keys that all variants share."""
        return self.shared

    def told_by(self) -> type[Struct] | None:
        """Return what is made where that is a struct."""
        return struct_in(self.make)


def read_keys(table: Table, keys: Sequence[Key]) -> dict[str, Any]:
    """Return the values of the keys that are written, and of those that must be."""
    return {
        key.field or key.name: key.value.read(
            table, key.name, is_required=key.is_required
        )
        for key in keys
        if key.is_required or table.asks(key.name)
    }


def _read_others(
    table: Table, others: Others, keys: Sequence[Key]
) -> dict[str, dict[str, Any]]:
    """Return the values of all keys that are not fixed; note what is wrong with a name."""
    fixed = {key.name for key in keys}
    found: dict[str, Any] = {}
    for name in table.data:
        if name not in fixed and table.asks(name):
            try:
                others.names.check(name)
            except ValueError as error:
                table.report(name, str(error))
                continue
            found[name] = others.key.value.read(table, name, is_required=False)
    return {others.key.field: found} if found else {}


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


def json_schema_of(root: Shape, title: str) -> Schema:
    """Return the JSON Schema of a whole file, for editors that complete it."""
    shapes: dict[str, Shape] = {}
    waiting = list(root.inner())
    while waiting:
        shape = waiting.pop()
        if shape.name not in shapes:
            shapes[shape.name] = shape
            waiting.extend(shape.inner())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root.schema(),
        "$defs": {name: shapes[name].schema() for name in sorted(shapes)},
    }


def struct_in(make: object) -> type[Struct] | None:
    """Return ``make`` where calling it makes a struct of that class."""
    return make if isinstance(make, type) and issubclass(make, Struct) else None


def inner_shapes(keys: Sequence[Key]) -> list[Shape]:
    """Return the shapes that some keys refer to."""
    return [
        key.value.shape() for key in keys if isinstance(key.value, Nested | NestedMany)
    ]
