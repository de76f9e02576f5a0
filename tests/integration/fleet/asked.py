"""Asks a sidecar for everything that it can be asked for, and keeps what it answered.

What there is comes from the routes of the app, the parameters of its operations, the
links of its pages and the fields of its forms: whatever is new is asked for by itself, or
a test says what it needs for that.
"""

import html
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec

from meterline.portal import portal_token
from meterline_sidecar.web.api.all import OPERATIONS
from meterline_sidecar.web.app import routes
from tests.integration.fleet.conftest import Host

NAMES: Final = {
    "correction": "1",
    "credit": "1",
    "customer": "acme",
    "edge": "one",
    "event": "1",
    "late": "1",
    "meter": "api_calls",
    "name": "march",
    "number": "INV-0001",
    "row": "1",
}
"""What stands in a path, by its name there."""
VALUES: Final = {
    "after": "1",
    "appendix": "true",
    "before": "3",
    "customer": "acme",
    "day": "2026-12-01",
    "edge": "one",
    "external_id": "e1",
    "is_open": "true",
    "kind": "",
    "late": "true",
    "limit": "2",
    "line": "1",
    "method": "GET",
    "period": "2026-11",
    "producer": "0" * 31 + "1",
    "route": "/0",
    "since": "2026-11-01",
    "source": "shop",
    "start": "2026-11-05T00:00:00Z&end=2026-11-20T00:00:00Z",
    "state": "",
    "status": "200-299",
    "subject": "acct_1",
    "where": "region=eu",
}
"""What a parameter of an operation is; where it is one of some words, each of them."""
ELSEWHERE: Final = {
    "/live": "it never ends",
    "/static/{version}/{name}": "no ledger is asked",
    "/v1/invoices/{number}.pdf": "it is made of the page",
}
"""Which routes nobody looks at here, and why."""
MEASURED: Final = ("/", "/metrics", "/status")
"""What says how this process fares: only whether there is an answer is kept of it."""
BY_CHANCE: Final = re.compile(
    r"[0-9a-f]{16,}|\bu1-[a-z2-7]+|(?<=token )[0-9a-f]{8}|(?<=token=)[\w.-]+"
    r'|(?<=name="once" value=")[\w-]+|(?<="frames":)\d+|(?<="usage_rows": )\d+'
)
"""Keys, digests, how often an edge's heart beat, how much of what has just come is added
up: what is different each time."""
EDGE_ID: Final = re.compile(r'<option value="([0-9a-f]{8})[0-9a-f]{24}"')
KINDS_MAX: Final = 400
NOT_HERE: Final = re.compile(r"^/static/|\.pdf(\?|$)")
LINK: Final = re.compile(r'\bhref="(/[^"#]*)')
PLACE: Final = re.compile(r"{(\w+)(?::\w+)?}")
HTML: Final = {"Accept": "text/html"}


def filled(template: str, names: dict[str, str]) -> str:
    """Return a path with what stands in it."""
    return PLACE.sub(lambda found: ({**NAMES, **names})[found[1]], template)


@dataclass
class Asked:
    """One sidecar, and all that it was asked for."""

    host: Host
    answers: dict[str, tuple[int, str]] = field(
        default_factory=dict[str, tuple[int, str]]
    )
    """By what was asked: the status, and what came but for what comes by chance."""
    granted: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """What was not refused, once at least: the method and the route."""
    _n_sent: int = 0
    _n_looks: int = 0

    async def send(
        self,
        template: str,
        *,
        method: str = "POST",
        names: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
        **asked: Any,
    ) -> httpx.Response:
        """Ask for a change, and note it and what came of it."""
        self._n_sent += 1
        if form is not None:
            asked["data"] = {"once": f"{self._n_sent:032x}", **form}
            asked["headers"] = HTML
        path = filled(template, names or {})
        response = await self.host.http.request(method, path, **asked)
        if response.status_code < 400:
            self.granted.add((method, template))
        self._keep(f"{self._n_sent} {method} {path}", response)
        return response

    async def look(self) -> None:
        """Ask for all that there is to be read, and wherever that leads to."""
        self._n_looks += 1
        self._links: list[str] = []
        for template in _readable():
            for path in (filled(template, {}), *_with_parameters(template)):
                if await self._get(self._portal(path)) < 400:
                    self.granted.add(("GET", template))
        kinds: set[tuple[str, ...]] = set()
        while self._links:
            path = self._links.pop(0)
            if _kind(path) not in kinds:
                kinds.add(_kind(path))
                assert len(kinds) < KINDS_MAX, f"links lead to ever more: {path}"
                await self._get(path)

    def _portal(self, path: str) -> str:
        if not path.startswith("/portal"):
            return path
        now_s = self.host.clock.now_ms() // 1000
        key = self.host.parts.portal_key
        return f"{path}?token={portal_token('acme', key=key, now_s=now_s)}"

    async def _get(self, path: str) -> int:
        where = urlsplit(path).path
        is_api = where.startswith(("/v1/", "/status", "/metrics"))
        asked = f"look {self._n_looks}: {path}"
        if BY_CHANCE.sub("", asked) in self.answers:
            return self.answers[BY_CHANCE.sub("", asked)][0]
        response = await self.host.http.get(path, headers={} if is_api else HTML)
        if not is_api:
            links = map(html.unescape, LINK.findall(response.text))
            self._links += [link for link in links if not NOT_HERE.search(link)]
        self._keep(asked, response, is_measured=where in MEASURED)
        return response.status_code

    def _keep(
        self, asked: str, response: httpx.Response, *, is_measured: bool = False
    ) -> None:
        text = "" if is_measured else response.text
        for start in EDGE_ID.findall(text):
            text = text.replace(start, "")
        self.answers[BY_CHANCE.sub("", asked)] = (
            response.status_code,
            BY_CHANCE.sub("", text),
        )


def offered(*methods: str) -> set[tuple[str, str]]:
    """Return the methods and paths of all routes that take one of these methods."""
    return {
        (method, route.path)
        for route in routes()
        for method in methods
        if method in (route.methods or ()) and route.path not in ELSEWHERE
    }


def _readable() -> list[str]:
    return sorted(path for _, path in offered("GET"))


def _with_parameters(template: str) -> list[str]:
    """Return an operation with what it needs, and then with each other parameter."""
    paths: list[str] = []
    for operation in OPERATIONS:
        if (operation.method, operation.path) != ("GET", template):
            continue
        fields = [
            one
            for one in msgspec.structs.fields(operation.query)
            if one.name not in operation.path_names
        ]
        needed = [f"{one.name}={VALUES[one.name]}" for one in fields if one.required]
        more = [
            f"{one.encode_name}={value}"
            for one in fields
            if not one.required and one.name != "end"  # it comes with its start
            for value in _values(one)
        ]
        path = filled(template, {})
        paths += ["&".join([f"{path}?", *needed]).replace("?&", "?")] if needed else []
        paths += [
            "&".join([f"{path}?", *needed, one]).replace("?&", "?") for one in more
        ]
    return paths


def _values(one: msgspec.structs.FieldInfo) -> list[str]:
    """Return what a parameter is tried with."""
    value = VALUES[one.name]
    return [value] if value else [str(word) for word in _words(one.type)]


def _words(kind: Any) -> list[Any]:
    info = msgspec.inspect.type_info(kind)
    kinds = info.types if isinstance(info, msgspec.inspect.UnionType) else (info,)
    return [
        word
        for one in kinds
        if isinstance(one, msgspec.inspect.LiteralType)
        for word in one.values
    ]


def _kind(path: str) -> tuple[str, ...]:
    """Return what a link asks for, whatever it is about: one of each is enough."""
    where = urlsplit(path)
    parts = [re.sub(r"\d+", "0", part) for part in where.path.split("/")]
    return (*parts, *sorted(re.findall(r"(\w+)=", where.query)))
