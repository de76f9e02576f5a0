"""Makes the keys of ``meterline.toml`` of the fields of its structs.

A field is a key when its ``Meta`` says what it means. Its type and bounds say what the
value may be, its default what holds where it is not written. What those cannot say
stands in the ``extra`` of its ``Meta``:

- ``kind``: the ``Kind`` of a value whose type does not say enough;
- ``default``: what people read where the default is no constant; such a key need not
  be written, though the struct needs the value;
- ``variable``: the variable of the environment that stands above the file;
- ``key``: what the file calls it, where Python has that word for itself.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo, fields, replace

from meterline_pricing.toml.reference import default_text
from meterline_pricing.toml.shape import Key, Many, One, Value
from meterline_pricing.toml.source import (
    BOOLEAN,
    DECIMAL,
    TEXT,
    Kind,
    integer,
    one_of,
)
from meterline_sidecar.config.kinds import DAY, PATH

OF_TYPE: Final[Mapping[type, Kind[Any]]] = {
    bool: BOOLEAN,
    date: DAY,
    Decimal: DECIMAL,
    Path: PATH,
    str: TEXT,
}


def keys_of(struct: type[Struct], **values: Value) -> tuple[Key, ...]:
    """Return a key for each field of ``struct`` that says what it means.

    Args:
        struct: whose fields are keys.
        values: how a field is read that its annotations do not describe.
    """
    return tuple(
        _key(field, said, values.get(field.name) or _value(field))
        for field in fields(struct)
        if (said := _said(field.type)[1]).description
    )


def variables_of(struct: type[Struct]) -> Iterator[tuple[str, str, Kind[Any]]]:
    """Yield the fields that the environment can set, its variable, and their kind."""
    for field in fields(struct):
        variable: str | None = (_said(field.type)[1].extra or {}).get("variable")
        if variable is not None:
            yield field.name, variable, _kind(field.type, field.name)


def _key(field: FieldInfo, said: Meta, value: Value) -> Key:
    extra = said.extra or {}
    default: str | None = extra.get("default")
    is_required = field.required and default is None
    if default is None and not field.required:
        default = default_text(field.default)
    variable = extra.get("variable")
    more = f" Environment: {variable}." if variable else ""
    return Key(
        extra.get("key", field.name),
        value,
        f"{said.description}{more}",
        is_required,
        field=field.name,
        default=default,
    )


def _value(field: FieldInfo) -> Value:
    bare, _ = _said(field.type)
    if get_origin(bare) is tuple:
        item, _ = get_args(bare)
        return Many(_kind(item, field.name))
    kind = _kind(field.type, field.name)
    # What is wrong leaves the default, so that nothing false follows from it.
    has_constant = field.default is not NODEFAULT
    return One(replace(kind, blank=field.default) if has_constant else kind)


def _kind(hint: Any, name: str) -> Kind[Any]:
    bare, said = _said(hint)
    given: Kind[Any] | None = (said.extra or {}).get("kind")
    if given is not None:
        return given
    if get_origin(bare) is Literal:
        return one_of(name, get_args(bare))
    if bare is int:
        assert said.ge is not None, f"{name} needs bounds"
        assert said.le is not None, f"{name} needs bounds"
        return integer(minimum=int(said.ge), maximum=int(said.le))
    return OF_TYPE[bare]


def _said(hint: Any) -> tuple[Any, Meta]:
    """Return a type without annotations and ``| None``, and what those say of it."""
    description: str | None = None
    ge: float | None = None
    le: float | None = None
    extra: dict[str, Any] = {}
    while (origin := get_origin(hint)) in (Annotated, Union, UnionType):
        if origin is Annotated:
            hint, *metas = get_args(hint)
            for meta in metas:
                description = meta.description or description
                ge = meta.ge if ge is None else ge
                le = meta.le if le is None else le
                extra |= meta.extra or {}
        else:
            (hint,) = (one for one in get_args(hint) if one is not NoneType)
    return hint, Meta(description=description, ge=ge, le=le, extra=extra)
