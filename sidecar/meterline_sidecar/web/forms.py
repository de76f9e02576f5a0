"""Reads what a form of a page has sent, as parameters of an address are read."""

from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from meterline_sidecar.web.problems import BadRequest

S = TypeVar("S", bound=msgspec.Struct)
FIELDS_MAX = 50


async def read_form(request: Request, kind: type[S]) -> S:
    """Return the fields of a form; those that nobody filled in are left out.

    Raises:
        BadRequest: one is wrong, not known, or given more than once.
    """
    try:
        pairs = parse_qsl((await request.body()).decode(), max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise BadRequest(f"this is no form: {error}") from error
    given = dict(pairs)
    if len(given) < len(pairs):
        raise BadRequest("a field is given more than once")
    for name in given:
        if name not in kind.__struct_fields__:
            raise BadRequest(f"there is no field {name[:50]}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from error
