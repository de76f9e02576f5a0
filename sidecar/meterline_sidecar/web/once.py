"""Carries a change out once, whatever is sent again under its key.

The key is kept in the transaction of the change itself (``store.once``), and so holds
over whatever ends the process, and at every centre of a ledger. The answer is kept
behind that. Who sends the same again gets that answer; who sends something else under
the key is refused.
"""

from collections.abc import Awaitable, Callable
from hashlib import blake2b
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from meterline_sidecar.clock import format_time_ms
from meterline_sidecar.store.once import (
    Once,
    Used,
    UsedBefore,
    carrying_out,
    find_key,
    put_answer,
    put_key,
)
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import (
    REFUSALS,
    BadRequest,
    Conflict,
    on_refused,
)

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotent-Replayed"
KEY_CHARS_MAX: Final = 255
ANSWER_BYTES_MAX: Final = 64 << 10  # what is longer is not kept

Act = Callable[[], Awaitable[Response]]
Again = Callable[[Used], Response]


def digest(*parts: bytes) -> bytes:
    """Return 16 bytes that stand for these, and for no others."""
    whole = blake2b(digest_size=16)
    for part in parts:
        whole.update(len(part).to_bytes(8) + part)
    return whole.digest()


def key_of(request: Request) -> str | None:
    """Return the key that a program gave its request; ``None``: it gave none.

    Raises:
        BadRequest: it can be no key.
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    key = given[0]
    if len(given) > 1 or not 0 < len(key) <= KEY_CHARS_MAX or not key.isprintable():
        raise BadRequest(
            f"{HEADER} is given once, with 1 to {KEY_CHARS_MAX} characters that can be"
            " printed"
        )
    return key


async def answered_once(request: Request, *, key: str, of: str, act: Act) -> Response:
    """Return the answer to a program's request that has a key.

    Args:
        of: whose key it is; that of somebody else is another one.

    Raises:
        Conflict: the key is that of another request, or its answer is not kept.
    """
    asked = digest(
        request.method.encode(),
        request.url.path.encode(),
        request.url.query.encode(),
        await request.body(),
    )
    parts: Parts = request.app.state.parts
    named = digest(b"header", of.encode(), key.encode())
    one = Once(named, asked, now_ms=parts.clock.now_ms())
    return await carry_out(request, one, act, again=lambda used: _replayed(used, asked))


def _replayed(used: Used, asked: bytes) -> Response:
    when = format_time_ms(used.used_ms)
    if used.request != asked:
        raise Conflict(
            f"this {HEADER} is that of another request, from {when}: nothing was"
            " changed now; send a new request with a new key"
        )
    if used.status is None or used.answer is None:
        raise Conflict(
            f"a request under this {HEADER} was carried out at {when}, or is just being"
            " so, and its answer is not kept: nothing was changed now; check what it"
            " did before you send it with a new key"
        )
    kind = "json" if used.status < 400 else "problem+json"
    return Response(
        used.answer,
        used.status,
        headers={REPLAYED: "true"},
        media_type=f"application/{kind}",
    )


async def carry_out(request: Request, one: Once, act: Act, *, again: Again) -> Response:
    """Return the answer of ``act``, where nothing was carried out under its key yet.

    What was refused before anything was changed leaves the key to the next.

    Args:
        again: answers where something was; it may raise what is an answer.
    """
    parts: Parts = request.app.state.parts
    async with parts.database.reading() as tx:
        before = await find_key(tx, one.key)
    if before is not None:
        return again(before)
    try:
        with carrying_out(one):
            answer = await act()
    except UsedBefore:
        async with parts.database.reading() as tx:
            used = await find_key(tx, one.key)
        assert used is not None, "it was kept by whoever was before us"
        return again(used)
    except tuple(REFUSALS) as error:
        if one.is_kept:
            await _keep(parts, one, await on_refused(request, error))
        raise
    await _keep(parts, one, answer)
    return answer


async def _keep(parts: Parts, one: Once, answer: Response) -> None:
    """Keep an answer, and the key where there was no transaction that did.

    A page is none: where a form leads to one, it shows what it would do, or did.
    """
    if answer.media_type == "text/html":
        return
    said = answer.headers.get("location", "").encode() or bytes(answer.body)
    async with parts.database.transaction() as tx:
        if not one.is_kept:
            await put_key(tx, one.key, one.request, used_ms=one.now_ms)
        if len(said) <= ANSWER_BYTES_MAX:
            await put_answer(tx, one.key, status=answer.status_code, answer=said)
