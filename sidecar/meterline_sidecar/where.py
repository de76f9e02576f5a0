"""Which events a meter takes: by route, method, status, kind and properties."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from meterline_sidecar.properties import Named, label_of

KindName = Literal["request", "websocket", "use"]

ANYTHING: Final = "*"
NOT: Final = "!"
"""Before what is left out."""
UNMATCHED: Final = "unmatched"
"""How a missing route or method is written in labels and filters."""
CHOICES_KEPT: Final = 4_096  # of a value of at most 128 characters each


def fits(text: str, pattern: str) -> bool:
    """Say whether a text is one of ``pattern``, in which only ``*`` is a mark.

    In time that grows with the text alone: what is compared may be a client's.
    """
    first, *others = pattern.split(ANYTHING)
    if not others:
        return text == first
    if not text.startswith(first):
        return False
    *inner, last = others
    at = len(first)
    for part in inner:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return len(text) - at >= len(last) and text.endswith(last)


class StatusRange(msgspec.Struct, frozen=True, omit_defaults=True):
    """HTTP statuses from ``first`` to ``last``, both inclusive as in ``200-499``."""

    first: int
    last: int
    is_left_out: bool = False
    """Whether these are not counted: ``!500-599``."""


STATUSES_EXAMPLE: Final = "404, 5xx, 400-499 or 200,304"


def status_ranges(text: str) -> tuple[StatusRange, ...]:
    """Return the statuses that a text such as ``200-299,404,5xx`` names.

    Raises:
        ValueError: it names none, or not only statuses.
    """
    return tuple(_status_range(part.strip()) for part in text.split(","))


def _status_range(text: str) -> StatusRange:
    if len(text) == 3 and text.isascii() and text[0].isdigit() and text[1:] == "xx":
        return StatusRange(int(text[0]) * 100, int(text[0]) * 100 + 99)
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (_is_status(first) and _is_status(last) and first <= last):
        raise ValueError(f"{text!r} is no status")
    return StatusRange(int(first), int(last))


def _is_status(text: str) -> bool:
    return len(text) == 3 and text.isascii() and text.isdigit()


class Where(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events this meter counts; all by default."""

    route: Annotated[
        tuple[str, ...],
        Meta(
            description='Route templates, or patterns over them: `["/v1/*"]`. `*`'
            " stands for any text, all else for itself. A request that no route took"
            ' is `unmatched`. `!` excludes a pattern: `["!/health"]`.'
        ),
    ] = ()
    method: Annotated[
        tuple[str, ...],
        Meta(
            description='HTTP methods: `["GET", "HEAD"]`; `get` is read as `GET`. All'
            ' but one: `["!OPTIONS"]`.'
        ),
    ] = ()
    status: Annotated[
        tuple[StatusRange, ...],
        Meta(
            description="HTTP statuses from 100 to 599, with inclusive ranges:"
            ' `"200-499"`, `"200,304"`, `"2xx"`; all but some: `"!500-599"`,'
            ' `"200-499,!404"`.',
            extra_json_schema={"type": "string"},
        ),
    ] = ()
    kind: Annotated[
        tuple[KindName, ...],
        Meta(
            description="`request`, `websocket`, or `use` (recorded outside a "
            "request). By default a `count` meter takes the first two."
        ),
    ] = ()
    properties: Annotated[
        dict[str, tuple[str, ...]],
        Meta(
            description="A property that your code records, by its name: `model ="
            ' ["gpt-*", "!gpt-test"]`, as for routes. `(none)` means that it is'
            " missing. Each part of a quantity counts by its own properties."
        ),
    ] = {}

    def takes(self, *, kind: str, method: str, route: str, status: int) -> bool:
        """Say whether an event of this sort is one of them."""
        return (
            (not self.kind or kind in self.kind)
            and _chosen(self.method, method.__eq__)
            and self.takes_route(route)
            and self.takes_status(status)
        )

    def takes_route(self, route: str) -> bool:
        """Say whether an event of this route is one of them, as far as that goes."""
        return _chosen(self.route, lambda pattern: fits(route, pattern))

    def takes_status(self, status: int) -> bool:
        """Say whether an event of this status is one of them, as far as that goes."""
        named = [r.is_left_out for r in self.status if r.first <= status <= r.last]
        return not any(named) and (
            bool(named) or all(r.is_left_out for r in self.status)
        )

    def takes_properties(self, properties: Named) -> bool:
        """Say whether what has these properties is one of them, as far as that goes."""
        return all(
            _fits_choice(label_of(properties.get(name)), patterns)
            for name, patterns in self.properties.items()
        )


def split(texts: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Return what a filter names, and what it leaves out."""
    left_out = [text.removeprefix(NOT) for text in texts if text.startswith(NOT)]
    return [text for text in texts if not text.startswith(NOT)], left_out


@lru_cache(maxsize=CHOICES_KEPT)
def _fits_choice(label: str, patterns: tuple[str, ...]) -> bool:
    return _chosen(patterns, lambda pattern: fits(label, pattern))


def _chosen(texts: tuple[str, ...], is_it: Callable[[str], object]) -> bool:
    """Say whether something is named, or nothing is, and it is not left out."""
    named, left_out = split(texts)
    is_named = not named or any(is_it(text) is True for text in named)
    return is_named and not any(is_it(text) is True for text in left_out)


def chosen(value: str | Mapping[str, Any] | Sequence[Any]) -> str:
    """Return what a meter's ``where`` asks of one thing, as its file says it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return ", ".join(chosen(one) for one in value)
    if "first" not in value:
        return ", ".join(f"{name} = {chosen(of)}" for name, of in value.items())
    sign = "!" if value.get("is_left_out") else ""
    first, last = value["first"], value["last"]
    return f"{sign}{first}" if first == last else f"{sign}{first}-{last}"
