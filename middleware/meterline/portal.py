"""Links to the customer's page: signed, short-lived, for one customer each.

An app makes them without the sidecar; both hold the same key:

    key = read_portal_key(Path("/var/lib/meterline/meterline.db.portal-key"))
    token = portal_token("acme", key=key, ttl_s=900)
    url = f"https://usage.example.com/portal?token={token}"

The token is a JWT (RFC 7519) signed with HMAC-SHA-256, and no other algorithm.
"""

import hmac
import os
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from meterline.quantities import exact_text, is_unicode

TTL_S_MAX: Final = 24 * 3600
SKEW_S: Final = 60  # how far the clocks of app and sidecar may differ
KEY_BYTES_MIN: Final = 32
TOKEN_CHARS_MAX: Final = 2_000
AUDIENCE: Final = "meterline-portal"
HEADER: Final = {"alg": "HS256", "typ": "JWT"}
BROKEN: Final = (
    "this link is not whole, or not right: a program may have cut it off on its way; copy"
    " all of it into the address bar of your browser"
)

CUSTOMER_CHARS_MAX: Final = 100

TIME_S_MAX: Final = 2**40
Seconds = Annotated[int, Meta(ge=0, le=TIME_S_MAX)]


class InvalidToken(ValueError):
    """A token that opens nothing: forged, expired, or for something else."""


class Claims(Struct, frozen=True):
    """What a token says."""

    aud: str
    sub: Annotated[str, Meta(min_length=1, max_length=CUSTOMER_CHARS_MAX)]
    """The customer's id."""
    iat: Seconds
    exp: Seconds


class _Header(Struct, frozen=True):
    alg: str
    typ: str = "JWT"


def read_portal_key(path: str | os.PathLike[str]) -> bytes:
    """Return the key that the sidecar wrote at its first start.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too short to be one, or ``path`` is no path.
    """
    try:
        file = Path(path)
    except TypeError as error:
        raise ValueError(
            f"path must be the path of the sidecar's portal key, not {path!r:.60}"
        ) from error
    return _checked(file.read_bytes().strip())


def portal_token(
    customer: str, *, key: bytes, ttl_s: int = 3600, now_s: int | None = None
) -> str:
    """Return a token that shows one customer's page for ``ttl_s`` seconds.

    Args:
        customer: the customer's id, as ``meterline.toml`` has it.
        key: what ``read_portal_key`` returns.
        ttl_s: at most a day; make a new one rather than a long one.
        now_s: UTC seconds; the machine's clock by default.

    Raises:
        ValueError: an argument is of another kind, or out of bounds.
    """
    exact_id = exact_text(customer) or ""
    if not 0 < len(exact_id) <= CUSTOMER_CHARS_MAX or not is_unicode(exact_id):
        raise ValueError(
            f"customer must be a customer's id, a text of 1 to {CUSTOMER_CHARS_MAX}"
            f" characters, not {customer!r:.60}"
        )
    issued_s = int(time.time()) if now_s is None else now_s
    for name, value in (("ttl_s", ttl_s), ("now_s", issued_s)):
        if type(value) is not int:
            raise ValueError(
                f"{name} must be a whole number of seconds, not {value!r:.60}"
            )
    if not 0 < ttl_s <= TTL_S_MAX:
        raise ValueError(f"ttl_s={ttl_s} is not between 1 and {TTL_S_MAX} (a day)")
    if not 0 <= issued_s <= TIME_S_MAX - ttl_s:
        raise ValueError(f"now_s={issued_s!s:.40} is not a time in UTC seconds")
    claims = Claims(AUDIENCE, exact_id, issued_s, issued_s + ttl_s)
    body = (
        f"{_encode(msgspec.json.encode(HEADER))}.{_encode(msgspec.json.encode(claims))}"
    )
    return f"{body}.{_encode(_signature(body, _checked(key)))}"


def portal_customer(token: str, *, key: bytes, now_s: int) -> str:
    """Return whose page a token shows.

    Raises:
        InvalidToken: it shows nobody's; the text does not say more than a stranger
            may know.
    """
    body, dot, signature = token.rpartition(".")
    if not dot or len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise InvalidToken(BROKEN)
    try:
        given = _decode(signature)
        if not hmac.compare_digest(_signature(body, _checked(key)), given):
            raise InvalidToken(BROKEN)
        header, _, payload = body.partition(".")
        algorithm = msgspec.json.decode(_decode(header), type=_Header).alg
        claims = msgspec.json.decode(_decode(payload), type=Claims)
    except (msgspec.DecodeError, ValueError) as error:
        raise InvalidToken(BROKEN) from error
    if algorithm != HEADER["alg"] or claims.aud != AUDIENCE:
        raise InvalidToken("this link is for another page")
    # Also a key that leaked for a moment makes no link that lasts.
    if claims.exp - claims.iat > TTL_S_MAX:
        raise InvalidToken("this link was made to last for more than a day")
    if claims.iat > now_s + SKEW_S:
        raise InvalidToken(
            "this link is not valid yet, as the clock is wrong where it was made or here:"
            " try it again in a few minutes"
        )
    if now_s >= claims.exp:
        raise InvalidToken("this link has expired: ask for a new one")
    return claims.sub


def _checked(given: object) -> bytes:
    if not isinstance(given, bytes):
        # The text is not shown: it may be the key itself.
        raise ValueError(  # noqa: TRY004 - as for every argument
            f"key must be the bytes that read_portal_key(PATH) returns, and is of type"
            f" {type(given).__name__}; the text of a key becomes bytes by .encode()"
        )
    if len(given) < KEY_BYTES_MIN:
        raise ValueError(f"a key of {len(given)} bytes is shorter than {KEY_BYTES_MIN}")
    return given


def _signature(body: str, key: bytes) -> bytes:
    return hmac.digest(key, body.encode(), sha256)


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """Return the bytes of base64url, which can be written in one way only.

    Raises:
        ValueError: it is none.
    """
    raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if _encode(raw) != text:
        raise ValueError("not base64url")
    return raw
