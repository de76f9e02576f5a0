"""The one line around an answer: it comes back as it was, and is counted."""

from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any, Final, TypeVar, cast

from meterline import Handle, Meter, current
from meterline.complaints import troubles
from meterline.llm.calls import Call, Recorder
from meterline.llm.lines import Lines
from meterline.quantities import class_name

T = TypeVar("T")
_TEXTS: Final = (bytes, bytearray, memoryview, str)
# An answer of both libraries has __iter__, too: it goes through its fields.
_GONE_THROUGH: Final = ("__next__", "__anext__", "__aiter__")
_ENTERED: Final = ("__enter__", "__aenter__")

_INSIDE: Final = "_raw_stream"


def metered(
    answer: T,
    /,
    *,
    to: Handle | Meter | None = None,
    keep_usage: bool = False,
    **properties: str | int,
) -> T:
    """Return what a language model answered, and record the tokens that it cost.

    A whole answer is recorded at once and comes back itself. A stream comes back as
    one that does the same and is recorded as it tells its tokens; if it is left in the
    middle, what it has told by then is recorded, and the call counts in
    ``llm_calls_unknown``. What can be awaited is metered when it is. Raises nothing.

        answer = meterline.llm.metered(await client.responses.create(...))
        async for chunk in meterline.llm.metered(stream): ...

    Args:
        answer: of OpenAI or Anthropic or alike, as their libraries, JSON or HTTP have
            it: an object, a dict, bytes, or what can be gone through.
        to: where it is recorded: a handle, or outside of requests a meter, which then
            takes ``subject="acct_42"`` besides. The request being served without it.
        keep_usage: keep the provider's usage object as it came, for whoever audits: the
            call counts in ``llm_calls`` then, and that has its JSON in properties.
        properties: more that its tokens are told apart by, or in place of ``model`` and
            ``provider`` as the answer has them.
    """
    # Taken now: who goes through a stream may do so in the context of another request.
    call = Call(_recorder(to), properties, keep_usage=keep_usage)
    return cast("T", _metered(answer, call))


def _recorder(to: object) -> Recorder:
    """Return what records, for who has named it or nothing; nobody's for any other."""
    if to is None:
        return current()
    if _has(to, "record"):
        return cast("Recorder", to)
    troubles.add(
        f"to must be a handle or a meter, and one of type {class_name(to)} is neither:"
        " what the answer cost is nobody's"
    )
    return Handle(None)


def _metered(answer: Any, call: Call) -> Any:
    if _has(answer, "__await__"):
        return _awaited(answer, call)
    if _is_text(answer):
        lines = Lines(call)
        lines.feed(_exact(answer))
        lines.end()
    elif _has(answer, *_GONE_THROUGH, *_ENTERED):
        return MeteredStream(answer, call)
    else:
        call.answer(answer)
    call.end()
    return answer


def _has(thing: object, *names: str) -> bool:
    """Tell whether the class of something has one of these."""
    return any(hasattr(type(thing), name) for name in names)


def _is_text(thing: object) -> bool:
    return isinstance(thing, _TEXTS)


def _exact(text: Any) -> bytes | str:
    return text if isinstance(text, str) else bytes(text)


async def _awaited(answer: Awaitable[Any], call: Call) -> Any:
    return _metered(await answer, call)


class MeteredStream:
    """A stream that tells what passes through it; in all else it is the one inside."""

    def __init__(self, stream: Any, call: Call) -> None:
        self._stream = stream
        self._iterator: Any = None
        self._call = call
        self._lines: Lines | None = None
        # A helper asks for nothing before it is entered.
        self._has_begun = _has(stream, *_GONE_THROUGH, "__iter__")

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_stream"), name)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            if self._iterator is None:
                self._iterator = iter(self._stream)
            chunk = next(self._iterator)
        except StopIteration:
            self._end(is_exhausted=True)
            raise
        except BaseException:
            self._end()
            raise
        self._take(chunk)
        return chunk

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            if self._iterator is None:
                self._iterator = aiter(self._stream)
            chunk = await anext(self._iterator)
        except StopAsyncIteration:
            self._end(is_exhausted=True)
            raise
        except BaseException:
            self._end()
            raise
        self._take(chunk)
        return chunk

    def __enter__(self) -> Any:
        return self._entered(self._stream.__enter__())

    def __exit__(self, *error: object) -> Any:
        self._end()
        return self._stream.__exit__(*error)

    async def __aenter__(self) -> Any:
        return self._entered(await self._stream.__aenter__())

    async def __aexit__(self, *error: object) -> Any:
        self._end()
        return await self._stream.__aexit__(*error)

    def close(self) -> Any:
        """Close the stream; what it does not tell now it never will."""
        self._end()
        return self._stream.close()

    def aclose(self) -> Any:
        """Do the same for what is closed by this name."""
        self._end()
        return self._stream.aclose()

    def __del__(self) -> None:
        self._end()

    def _entered(self, entered: Any) -> Any:
        """Return what the app is to go through, of what it has entered."""
        self._has_begun = True
        if entered is self._stream:
            return self
        # The helpers of both libraries have many ways through one stream inside.
        inside = getattr(entered, _INSIDE, None)
        if inside is None:
            return MeteredStream(entered, self._call)
        setattr(entered, _INSIDE, MeteredStream(inside, self._call))
        return entered

    def _take(self, chunk: Any) -> None:
        if _is_text(chunk):
            if self._lines is None:
                self._lines = Lines(self._call)
            self._lines.feed(_exact(chunk))
        else:
            self._call.chunk(chunk)

    def _end(self, *, is_exhausted: bool = False) -> None:
        if not self._has_begun:
            return
        if self._lines is not None:
            self._lines.end()
        self._call.end(is_exhausted=is_exhausted)
