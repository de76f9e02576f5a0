"""Who used it: ready-made resolvers for ``MeterMiddleware(subject=...)``.

A resolver takes the ASGI scope when the response is over, so whatever authenticates
requests has run, and returns a text or ``None`` for "unattributed". It must not take
long: it runs in the request.
"""

import operator
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, cast
from uuid import UUID

from meterline.asgi_types import Scope
from meterline.compiled import native
from meterline.inside import DJANGO_REQUEST
from meterline.quantities import exact_text, is_unicode

Resolver = Callable[[Scope], str | None]

KEY_VARIABLE: Final = "METERLINE_SUBJECT_KEY"
KEY_BYTES_MIN: Final = 16
DIGEST_CHARS: Final = 32  # 128 bits: two keys never meet

_ASYNC: Final = 0x80  # CO_COROUTINE; to import inspect for it takes milliseconds
_NOTHING: Final[dict[str, Any]] = {}

# Where the objects that frameworks call "user" or "token" keep who it is.
_IDENTITIES: Final = ("identity", "id", "pk", "sub", "username")


def default(scope: Scope) -> str | None:
    """Return the authenticated user that the app has put in the scope.

    The first of ``scope["user"]``, ``scope["state"]["user"]``,
    ``scope["state"]["subject"]`` and ``scope["auth"]`` that names somebody.
    No header is ever looked at.
    """
    if "user" in scope and (subject := identity(scope["user"])):
        return subject
    state = scope.get("state")
    if state:
        for name in ("user", "subject"):
            if name in state and (subject := identity(state[name])):
                return subject
    if DJANGO_REQUEST in scope and (subject := of_django(scope[DJANGO_REQUEST]())):
        return subject
    return identity(scope["auth"]) if "auth" in scope else None


def chosen(given: object, usual: Resolver) -> Resolver:
    """Return the resolver that an app has given, or the usual one.

    Raises:
        ValueError: it can be none, and every request would be nobody's.
    """
    if given is None:
        return usual
    if not callable(given):
        raise ValueError(  # noqa: TRY004 - as for every option
            f"subject must be a function that says who used it, not {given!r:.60};"
            " by a header: from_api_key or from_trusted_header"
        )
    if given in (from_user, from_state, from_api_key, from_trusted_header):
        name: str = getattr(given, "__name__", "")
        raise ValueError(f"subject: {name} makes a resolver: call it")
    if getattr(getattr(given, "__code__", None), "co_flags", 0) & _ASYNC:
        raise ValueError(
            "subject must not be async: if finding the user takes waiting, call"
            " meterline.set_subject in the handler"
        )
    return cast("Resolver", given)


def from_user() -> Resolver:
    """Return a resolver for ``scope["user"]``, as authentication middleware sets it."""

    def resolve(scope: Scope) -> str | None:
        return identity(scope.get("user"))

    return resolve


def from_state(name: str) -> Resolver:
    """Return a resolver for ``request.state.NAME``.

    Raises:
        ValueError: ``name`` is no name.
    """
    if not exact_text(name):
        raise ValueError(f"name must be that of an attribute, not {name!r:.60}")

    def resolve(scope: Scope) -> str | None:
        state: Any = scope.get("state")
        return identity(state.get(name)) if state else None

    return resolve


def from_api_key(
    header: str = "authorization", *, key: str | bytes | None = None
) -> Resolver:
    """Return a resolver for the API key in a request header.

    The subject is ``key_`` and a keyed digest; the API key itself is never stored
    and cannot be found again from it. The app must have checked the key: this
    resolver believes any. In ``authorization`` the scheme (``Bearer``) is cut off.
    A request with the header more than once is unattributed.

    Args:
        key: the secret of the digest, the same on all hosts and for ever, at least
            16 bytes; else from the variable ``METERLINE_SUBJECT_KEY``.

    Raises:
        ValueError: there is no secret, it is too short, or ``header`` is no header.
    """
    wanted = _name_of(header)
    digest = _digest_with(_secret(key))

    def resolve(scope: Scope) -> str | None:
        value = (_only_value(scope, wanted) or b"").strip()
        if not value:
            return None
        if wanted == b"authorization":
            value = value.rpartition(b" ")[2]
        return digest(value)

    return resolve


def api_key_subject(api_key: str, *, key: str | bytes | None = None) -> str:
    """Return the subject that ``from_api_key`` makes of ``api_key``.

    For the configuration: it says which customer a key belongs to.

    Raises:
        ValueError: there is no secret, it is too short, or ``api_key`` is nothing that
            a header can have.
    """
    try:
        sent = (exact_text(api_key) or "").encode("latin-1")
    except UnicodeEncodeError:
        sent = b""
    if not sent:  # it is not shown: it may be nearly right, and is a secret
        raise ValueError(
            "api_key must be an API key as clients send it in a header: a text that is"
            f" not empty, in Latin-1; it is of type {type(api_key).__name__}"
        )
    return _digest_with(_secret(key))(sent)


def from_trusted_header(header: str) -> Resolver:
    """Return a resolver for a header that a proxy sets.

    Only behind a proxy that sets it on every request and removes what clients send:
    whoever reaches the app directly decides who pays. A request with more than one
    value, or with one that is not plain ASCII, is unattributed.

    Raises:
        ValueError: ``header`` is no name of a header.
    """
    wanted = _name_of(header)

    def resolve(scope: Scope) -> str | None:
        value = _only_value(scope, wanted)
        if not value:
            return None
        try:
            text = value.decode("ascii")
        except UnicodeDecodeError:
            return None
        # Asked of the text: bytes take what they are asked for for a number first, and
        # that it is none costs as much as all else here.
        return None if "," in text else text.strip() or None

    return resolve if native is None else native.header_resolver(wanted, resolve)


def identity(user: object) -> str | None:
    """Return the name of ``user``: a text, a number, an object or a mapping."""
    if (text := _text_of(user)) is not None:
        return text or None
    if user is None or getattr(user, "is_authenticated", True) is False:
        return None
    for name in _IDENTITIES:
        try:
            value = _attribute(user, name)
        except NotImplementedError:  # Starlette's BaseUser has it so
            continue
        if text := _text_of(value):
            return text
        if isinstance(value, UUID):
            return str(value)
    return None


def _text_of(value: object) -> str | None:
    """Return the text or the whole number that ``value`` is, whatever its class says."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(operator.index(value))
    return exact_text(value)


def _attribute(user: object, name: str) -> object:
    if isinstance(user, Mapping):
        return cast("Mapping[str, object]", user).get(name)
    loaded: Any = getattr(user, "_sa_instance_state", None)
    if loaded is not None and name not in vars(user) and name in loaded.mapper.attrs:
        return _key_of_row(loaded, name)
    return getattr(user, name, None)


def _key_of_row(state: Any, name: str) -> object:
    """Return an attribute that an SQLAlchemy object has expired, if it is its key.

    A commit expires what was loaded, and asking the object would ask the database. The
    key it still has. Of another attribute nothing is known: the next name in line may
    mean somebody else.
    """
    key = state.mapper.primary_key
    if state.identity and len(key) == 1:
        (column,) = key
        if state.mapper.get_property_by_column(column).key == name:
            return state.identity[0]
    raise LookupError(f"the user's {name} was expired by a commit")


def of_django(request: Any) -> str | None:
    """Return the user of a Django request, if the app has asked who it is.

    Where it has not, nobody was let in by it, and asking would ask the database.
    """
    user: Any = getattr(request, "__dict__", _NOTHING).get("user")
    # Django's lazy user wraps one when somebody has looked; until then, nobody.
    return identity(getattr(user, "__dict__", _NOTHING).get("_wrapped", user))


def _name_of(header: str) -> bytes:
    """Return the name of a header as servers write it.

    Raises:
        ValueError: it is none, and every request would be nobody's.
    """
    name = (exact_text(header) or "").strip().lower()
    if not name or not name.isascii():
        raise ValueError(
            f'header must be the name of one, such as "x-user", not {header!r:.60}'
        )
    return name.encode()


def _only_value(scope: Scope, wanted: bytes) -> bytes | None:
    """Return the value of a header that is there exactly once.

    A WSGI server joins those that are there more often by commas.
    """
    if "wsgi.version" in scope:
        name = "HTTP_" + wanted.decode("latin-1").upper().replace("-", "_")
        text = str(scope.get(name, ""))
        return None if "," in text else text.encode("latin-1", "replace")
    length = len(wanted)
    found: bytes | None = None
    for name, value in scope["headers"]:
        # Most have another length, and servers make letters small: what is cheap first.
        if len(name) == length and (name == wanted or name.lower() == wanted):
            if found is not None:
                return None
            found = value
    return found


def _secret(key: object) -> bytes:
    given = key if key is not None else os.environ.get(KEY_VARIABLE, "")
    if not isinstance(given, str | bytes):
        raise ValueError(  # noqa: TRY004 - as for every argument
            "key must be the secret of the digest, a text or bytes, and is of type"
            f" {type(given).__name__}"
        )
    if isinstance(given, str) and not is_unicode(given):
        raise ValueError("key must be valid Unicode, or bytes")
    secret = given.encode() if isinstance(given, str) else given
    if len(secret) < KEY_BYTES_MIN:
        raise ValueError(
            f"from_api_key needs a secret of at least {KEY_BYTES_MIN} bytes: "
            f"give key=... or set {KEY_VARIABLE}"
        )
    return secret


def _digest_with(secret: bytes) -> Callable[[bytes], str]:
    """Return what makes subjects of API keys."""
    # Loaded by who asks for it: with hashing comes OpenSSL, for some milliseconds.
    hmac: Any = __import__("hmac")

    def digest(value: bytes) -> str:
        code: bytes = hmac.digest(secret, value, "sha256")
        return "key_" + code.hex()[:DIGEST_CHARS]

    return digest
