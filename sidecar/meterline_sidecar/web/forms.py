"""Reads what a form of a page has sent, as parameters of an address are read."""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request

from meterline_sidecar.web.misfits import misfit
from meterline_sidecar.web.problems import BadRequest

S = TypeVar("S", bound=msgspec.Struct)
FIELDS_MAX: Final = 50
KEY: Final = "once"
"""The field with the key of a form, which was made when the form was shown."""
Pairs = list[tuple[str, str]]
BOUNDARY: Final = re.compile(r'multipart/form-data; *boundary="?([^";, ]{1,70})"?')
FIELD: Final = re.compile(
    r'content-disposition: *form-data; *name="([^"]*)"(?:; *filename="([^"]*)")?',
    re.IGNORECASE,
)
"""As browsers write it: they put %22 for a quote."""


class Upload(NamedTuple):
    """A file that somebody chose in a form."""

    name: str
    content: bytes


async def read_form(request: Request, kind: type[S]) -> S:
    """Return the fields of a form; those that nobody filled in are left out.

    Raises:
        BadRequest: one is wrong, not known, or given more than once.
    """
    pairs, _ = await read_pairs(request)
    return _converted(pairs, kind)


async def read_upload(request: Request, kind: type[S]) -> tuple[S, Upload]:
    """Return the fields of a form that sends a file, and the file.

    All of it is in memory, so that ``rights.body_bytes_max`` bounds it.

    Raises:
        BadRequest: as ``read_form``; or there is not one file.
    """
    if not BOUNDARY.match(request.headers.get("content-type", "")):
        raise BadRequest("this is no form with a file: send it as multipart/form-data")
    pairs, files = await read_pairs(request)
    if len(files) != 1:
        raise BadRequest("choose a file" if not files else "choose one file only")
    return _converted(pairs, kind), files[0]


async def read_pairs(request: Request) -> tuple[Pairs, list[Upload]]:
    """Return what stands in the fields of a form, right or wrong, and its files.

    Raises:
        BadRequest: it is no form.
    """
    body = await request.body()
    boundary = BOUNDARY.match(request.headers.get("content-type", ""))
    if boundary is None:
        try:
            return parse_qsl(body.decode(), max_num_fields=FIELDS_MAX), []
        except ValueError as error:
            raise BadRequest(f"this is no form: {error}") from error
    pairs: Pairs = []
    files: list[Upload] = []
    for name, file, content in _parts_of(body, boundary[1]):
        if file is None:
            pairs += [(name, content.decode(errors="replace"))] if content else []
        elif file:
            files.append(Upload(file, content))
    return pairs, files


def _parts_of(body: bytes, boundary: str) -> Iterator[tuple[str, str | None, bytes]]:
    """Yield the name of each part, what its file is called, and what it holds."""
    parts = (b"\r\n" + body).split(f"\r\n--{boundary}".encode(), FIELDS_MAX + 2)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise BadRequest("this is no form: it has no end")
    for part in parts[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        found = FIELD.search(head.decode(errors="replace"))
        if found is None:
            raise BadRequest("this is no form: a part of it has no name")
        yield found[1], found[2], content


def _converted(pairs: Iterable[tuple[str, str]], kind: type[S]) -> S:
    pairs = [pair for pair in pairs if pair[0] != KEY]
    given = dict(pairs)
    if len(given) < len(pairs):
        raise BadRequest("a field is given more than once")
    for name in given:
        if name not in kind.__struct_fields__:
            raise BadRequest(f"there is no field {name[:50]}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        why = misfit(given, kind, strict=False, said=error)
        raise BadRequest(why.told("this form")) from error
