"""What a request asks for, however it is written."""

from typing import Final
from urllib.parse import unquote

from starlette.types import Scope

SCHEMES: Final = (b"http", b"https")


def in_origin_form(scope: Scope) -> Scope:
    """Return a request as one for a path of its host, where it names a whole address.

    Proxies may send ``GET http://host/path``. The host that it names counts then, and
    what the header says does not: two that differ let nobody choose between them.

    Source: RFC 9112, 3.2.2, read 2026-11-28.
    """
    if scope["path"].startswith("/"):
        return scope
    scheme, mark, rest = scope["raw_path"].partition(b"://")
    if not mark or scheme.lower() not in SCHEMES:
        return scope
    host, _, path = rest.partition(b"/")
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "path": unquote((b"/" + path).decode("latin-1")),
        "raw_path": b"/" + path,
        "headers": [*others, (b"host", host)],
    }
