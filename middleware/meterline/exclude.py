"""Which requests make no event: chosen once, when the app is built."""

import os
import re
from collections.abc import Iterable
from typing import Final, cast

from meterline.methods import METHODS
from meterline.quantities import exact_text

VARIABLE: Final = "METERLINE_EXCLUDE"
NOISE: Final = (
    "OPTIONS",
    "/health",
    "/health/",
    "/health/live",
    "/health/ready",
    "/health/startup",
    "/healthz",
    "/healthz/",
    "/livez",
    "/readyz",
    "/startupz",
    "/metrics",
    "/metrics/",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/schema/openapi.json",
    "/favicon.ico",
    "/robots.txt",
)
"""What nobody pays for in most apps: health checks, metrics, docs, and OPTIONS."""
NOISE_IN_VARIABLE: Final = "NOISE"
UNMATCHED: Final = "unmatched"
ANYTHING: Final = "*"
ENTRIES_MAX: Final = 1000
STATUS_MIN: Final = 100
STATUS_MAX: Final = 599

_CONVERTER: Final = r"\{(\w+):\w+\}"
_FORMS: Final = (
    'a path ("/healthz", "/internal/*"), a route ("/items/{id}", "unmatched"),'
    ' a method ("OPTIONS") or a status (404, "5xx", "300-399")'
)


class Exclusion:
    """The requests that make no event.

    Args:
        entries: each a path (exact, or with ``*`` at the end), the template of a route
            (the same), a method, or a status.
        option: who names them, for the error.

    Raises:
        ValueError: an entry that cannot be meant; the text names it.
    """

    def __init__(
        self, entries: Iterable[str | int], *, option: str = "exclude"
    ) -> None:
        self._methods: set[str] = set()
        self._paths: set[str] = set()
        self._beginnings: tuple[str, ...] = ()
        self._routes: set[str | None] = set()
        self._route_beginnings: tuple[str, ...] = ()
        self._statuses: set[int] = set()
        for entry in entries:
            if reason := self._add(entry):
                raise ValueError(f"{option}: {entry!r} cannot be meant: {reason}")

    def covers(self, path: str, method: str) -> bool:
        """Tell whether a request is left out, before anything is done for it.

        Args:
            path: as the app inside sees it: without its ``root_path``.
        """
        return (
            path in self._paths
            or method in self._methods
            or path.startswith(self._beginnings)
        )

    def covers_answer(self, route: str | None, status: int) -> bool:
        """Tell whether a request is left out, by what became of it."""
        return (
            status in self._statuses
            or route in self._routes
            or (route is not None and route.startswith(self._route_beginnings))
        )

    def _add(self, entry: object) -> str:
        """Add an entry; return why it cannot be meant, empty if it can."""
        text = exact_text(entry)
        if isinstance(entry, int) and not isinstance(entry, bool):
            text = str(int(entry))
        if not text:
            return f"it must be {_FORMS}"
        if text[0] == "/":
            return self._add_path(text)
        if text == UNMATCHED:
            self._routes.add(None)
        elif text in METHODS:
            self._methods.add(text)
        elif statuses := _statuses(text):
            self._statuses.update(statuses)
        elif text.upper() in METHODS:
            return f'methods are in capitals: "{text.upper()}"'
        else:
            return f"it must be {_FORMS}"
        return ""

    def _add_path(self, text: str) -> str:
        is_route = "{" in text or "<" in text
        if text == "/*":
            return "it would leave out every request; use disabled=True"
        if not is_route and "?" in text:
            return "a path has no query"
        if text.count("{") != text.count("}"):
            return "a brace is not closed"
        beginning = text.removesuffix(ANYTHING)
        if not is_route and ANYTHING in beginning:
            return "`*` stands only at the end"
        # A template is recorded without Starlette's converters, with Litestar's.
        texts = {beginning, re.sub(_CONVERTER, r"{\1}", beginning)}
        match is_route, beginning != text:
            case True, True:
                self._route_beginnings += tuple(texts)
            case True, False:
                self._routes |= texts
            case False, True:
                self._beginnings += (beginning,)
            case _:
                self._paths.add(text)
        return ""


def exclusion(given: object) -> Exclusion | None:
    """Return what is left out: as the argument says, or else the environment.

    Raises:
        ValueError: an entry that cannot be meant; the text names it.
    """
    option = VARIABLE if given is None else "exclude"
    if given is None:
        given = list(_of_environment())
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ValueError(  # noqa: TRY004 - as for every option
            f"exclude must be a list of entries, not {given!r}"
        )
    entries = list(cast("Iterable[str | int]", given))
    if len(entries) > ENTRIES_MAX:
        raise ValueError(f"{option} has {len(entries)} entries; at most {ENTRIES_MAX}")
    return Exclusion(entries, option=option) if entries else None


def _of_environment() -> Iterable[str]:
    for entry in re.split(r"[\s,]+", os.environ.get(VARIABLE, "").strip(" ,\n\t")):
        if entry == NOISE_IN_VARIABLE:
            yield from NOISE
        elif entry:
            yield entry


def _statuses(text: str) -> range:
    """Return the statuses that a text names; an empty range if it names none."""
    first, dash, last = text.partition("-")
    if re.fullmatch("[1-5]xx", text):
        first, last = f"{text[0]}00", f"{text[0]}99"
    elif not dash:
        last = first
    if not (
        re.fullmatch("[1-5][0-9]{2}", first) and re.fullmatch("[1-5][0-9]{2}", last)
    ):
        return range(0)
    return range(int(first), int(last) + 1)
