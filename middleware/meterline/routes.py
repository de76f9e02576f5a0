"""Which route a request took: its template, never its path.

Frameworks keep that in different places. Each is asked once for what never changes;
in the request it is a look into a dictionary. An unknown path has no template, so a
million of them are one "unmatched".
"""

import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

from meterline.asgi_types import Scope
from meterline.events import ROUTE_CHARS_MAX
from meterline.quantities import exact_text, is_unicode

DEPTH_MAX: Final = 16  # mounts in mounts, and wrappers round an app
PATHS_MAX: Final = 2048  # remembered where only the framework's matching can tell
REWALKS_MAX: Final = 100  # for routes that are added while the app runs

_PARAMETER: Final = r"\\\{[^}]*\\\}"  # as `re.escape` writes one
_TAIL: Final = "/{path}"  # how Starlette's Mount ends its template

Candidates = list[tuple[re.Pattern[str], str]]


class RouteMap:
    """Finds the templates of one app's routes.

    Args:
        app: the ASGI app inside, to recognise frameworks that say nothing in the scope.
    """

    def __init__(self, app: object) -> None:
        self._matching = _matching(app)
        self.has_matching = self._matching is not None
        """It can be asked also where the scope says nothing."""
        self.is_starlette = _is_starlette(app)
        """Its router says in the scope that it has seen it."""
        self._routers: list[object] = []
        self.templates: dict[int, str] = {}
        """By the id of a route object; always this one dictionary."""
        self._clear()
        self._rewalks = 0

    def _clear(self) -> None:
        # Routes compare by value and have no hash, so the key is their id; keeping
        # them alive keeps it unique.
        self._kept: list[object] = []
        self.templates.clear()
        self._shared: dict[int, Candidates] = {}
        self._mounts: dict[int, str] = {}

    def template(self, scope: Scope) -> str | None:
        """Return the template of the route that served ``scope``, if one did.

        To be called when the response is over or nearly so.
        """
        # An empty text stands for "known, and no route".
        found = self.templates.get(id(scope.get("route")))
        if found is None:
            if "router" in scope:
                found = _exact(self._of_router(scope))
            elif "path_template" in scope:
                found = _exact(scope["path_template"] or "/")
            elif self._matching is not None:
                found = _exact(self._matching.template(scope))
        return found or None

    def _of_router(self, scope: Scope) -> str:
        self._learn(scope["router"])
        template = self._of_starlette(scope, may_rewalk=True)
        own = scope.get("path_template")  # Litestar, mounted in Starlette
        return template.removesuffix(_TAIL) + own if own else template

    # --- Starlette and FastAPI

    def _learn(self, router: object) -> None:
        if not any(known is router for known in self._routers):
            self._routers.append(router)
            self._walk(_routes_of(router), prefix="", depth=0)

    def _of_starlette(self, scope: Scope, *, may_rewalk: bool) -> str:
        """Return the template by the most exact of the things that the scope has."""
        included = scope.get("fastapi", {}).get("effective_route_context")
        route = scope.get("route")
        # Before 1.8 Starlette names only the endpoint.
        things = [included, route if route is not None else scope.get("endpoint")]
        if included is not None and included.original_route is not route:
            is_plain = route is None and included.starlette_route is not None
            things = things if is_plain else [route]
        known = False
        for thing in things:
            if thing is None:
                continue
            known = True
            key = id(thing)
            if key in self.templates:
                return self.templates[key]
            if key in self._shared:
                return _first_match(self._shared[key], scope)
            if key in self._mounts:
                return self._mounts[key] + _TAIL
        if not known:
            return ""
        if may_rewalk and self._rewalks < REWALKS_MAX:
            self._rewalks += 1
            self._clear()
            for router in self._routers:
                self._walk(_routes_of(router), prefix="", depth=0)
            return self._of_starlette(scope, may_rewalk=False)
        own = getattr(included or route, "path_format", "")
        return self._mount_prefix(scope) + own if own else ""

    def _mount_prefix(self, scope: Scope) -> str:
        """Return the template of the mount whose insides are hidden from us."""
        path = _path(scope)
        matching = [
            prefix
            for prefix in self._mounts.values()
            if _pattern(prefix + _TAIL).fullmatch(path)
        ]
        return max(matching, key=len, default="")

    def _walk(self, routes: Iterable[Any], *, prefix: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            return
        for route in routes:
            contexts = getattr(route, "effective_route_contexts", None)
            if contexts is not None:  # FastAPI's include_router
                for context in contexts():
                    self._add_included(context, prefix=prefix, depth=depth)
            else:
                self._add(route, prefix=prefix, depth=depth)

    def _add(self, route: Any, *, prefix: str, depth: int) -> None:
        own: str = getattr(route, "path_format", "")
        inner = list(_routes_of(route))
        is_mount = hasattr(route, "app") and not hasattr(route, "endpoint")
        if not is_mount:
            self._remember(route, prefix + own)
            self._remember(getattr(route, "endpoint", None), prefix + own)
            return
        prefix += own.removesuffix(_TAIL)
        if inner:
            # The mount itself is what the scope names when nothing inside matched.
            self._remember(route, "")
            self._remember(route.app, "")
            self._walk(inner, prefix=prefix, depth=depth + 1)
        else:
            for thing in (route, route.app):
                self._kept.append(thing)
                self._mounts[id(thing)] = prefix

    def _add_included(self, context: Any, *, prefix: str, depth: int) -> None:
        effective = context.starlette_route
        if effective is not None and not hasattr(effective, "endpoint"):
            self._add(effective, prefix=prefix, depth=depth)
            return
        own = getattr(effective, "path_format", None) or context.path_format or ""
        self._remember(context, prefix + own)
        self._remember(context.original_route, prefix + own)
        self._remember(effective, prefix + own)

    def _remember(self, thing: object, template: str) -> None:
        if thing is None:
            return
        key = id(thing)
        self._kept.append(thing)
        known = self.templates.get(key)
        candidates = self._shared.get(key)
        if candidates is None and (known is None or known == template):
            self.templates[key] = _exact(template)
            return
        # One object under several templates: the path decides between them.
        if candidates is None:
            assert known is not None
            del self.templates[key]
            candidates = self._shared[key] = [(_pattern(known), known)]
        candidates.append((_pattern(template), template))


def _exact(template: str) -> str:
    """Return a template as it can be recorded: its class is the framework's choice."""
    text = (exact_text(template) or "")[:ROUTE_CHARS_MAX]
    return text if is_unicode(text) else ""


def _routes_of(app: object) -> Iterator[Any]:
    """Yield the Starlette routes of an app, a router or a mount, however wrapped."""
    for _ in range(DEPTH_MAX):
        routes: Any = getattr(app, "routes", None)
        if routes:
            yield from (route for route in routes if hasattr(route, "matches"))
            return
        app = getattr(app, "app", None)
        if app is None or not callable(app):
            return


def _is_starlette(app: object) -> bool:
    for _ in range(DEPTH_MAX):
        if hasattr(app, "routes") and hasattr(app, "lifespan_context"):
            return True
        if hasattr(app, "routes") and hasattr(app, "router"):
            return True
        app = getattr(app, "app", None)
        if app is None:
            return False
    return False


def _first_match(candidates: Candidates, scope: Scope) -> str:
    path = _path(scope)
    return next((text for pattern, text in candidates if pattern.fullmatch(path)), "")


def _path(scope: Scope) -> str:
    """Return the path as the outermost router sees it."""
    root = scope.get("app_root_path", scope.get("root_path", ""))
    path: str = scope["path"]
    return path.removeprefix(root)


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(_PARAMETER, ".+", re.escape(template)), re.DOTALL)


# --- frameworks that leave nothing in the scope


class _Matching:
    """Asks the framework to match the path again, and remembers what it said."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._known: dict[tuple[str, str], str] = {}

    def template(self, scope: Scope) -> str:
        root: str = scope.get("root_path", "")
        method = scope.get("method", "")
        path = "/" + scope["path"].removeprefix(root).lstrip("/")
        template = self._known.get((method, path))
        if template is None:
            if len(self._known) >= PATHS_MAX:
                self._known.clear()
            template = self._known[method, path] = self.match(path, method)
        return template

    def match(self, path: str, method: str) -> str:
        """Return the template, or an empty text."""
        raise NotImplementedError


class _Quart(_Matching):
    def match(self, path: str, method: str) -> str:
        routing: Any = sys.modules["werkzeug.routing"]
        errors: Any = sys.modules["werkzeug.exceptions"]
        adapter = self._app.url_map.bind("", url_scheme="http" if method else "ws")
        try:
            rule, _ = adapter.match(
                path, method or None, return_rule=True, websocket=not method
            )
        except (errors.HTTPException, routing.RoutingException):
            return ""
        return str(rule.rule)


class _Django(_Matching):
    def match(self, path: str, method: str) -> str:
        urls: Any = sys.modules["django.urls"]
        try:
            return "/" + str(urls.resolve(path).route)
        except urls.Resolver404:
            return ""


def _matching(app: object) -> _Matching | None:
    """Return how to match for the framework that ``app`` is or wraps, if any needs it."""
    for _ in range(DEPTH_MAX):
        app = getattr(app, "__self__", app)
        if type(app).__module__.startswith("django.core.handlers"):
            return _Django(app)
        if hasattr(app, "url_map") and hasattr(app, "asgi_app"):
            return _Quart(app)
        app = getattr(app, "app", None)
        if app is None:
            return None
    return None
