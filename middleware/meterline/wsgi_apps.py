"""What WSGI frameworks know of a request: its route's template, and its user.

Each is asked for what it has by now; nothing is looked up in a database for us.
"""

import sys
from typing import Any

from meterline import subjects
from meterline.asgi_types import Scope
from meterline.events import ROUTE_CHARS_MAX
from meterline.inside import DJANGO_REQUEST
from meterline.quantities import exact_text, is_unicode


def route(environ: Scope) -> str | None:
    """Return the template of the route that was taken, ``None`` where none is known."""
    found = _template(environ)
    if found is None:
        return None
    template = exact_text(found) or ""
    template = template[:ROUTE_CHARS_MAX]
    return template if template and is_unicode(template) else None


def _template(environ: Scope) -> object:
    if (request := environ.get("werkzeug.request")) is not None:  # Flask
        return getattr(getattr(request, "url_rule", None), "rule", None)
    if DJANGO_REQUEST in environ:
        match: Any = getattr(environ[DJANGO_REQUEST](), "resolver_match", None)
        return None if match is None else f"/{match.route}"
    return getattr(environ.get("bottle.route"), "rule", None)


def user(environ: Scope) -> str | None:
    """Return the user that the app or its server has found out.

    The first of Django's ``request.user``, Flask-Login's user and ``REMOTE_USER``
    that names somebody. No header is ever looked at.
    """
    if DJANGO_REQUEST in environ and (
        subject := subjects.of_django(environ[DJANGO_REQUEST]())
    ):
        return subject
    if "werkzeug.request" in environ and (subject := _of_flask_login()):
        return subject
    remote = environ.get("REMOTE_USER")
    return None if remote is None else subjects.identity(remote)


def _of_flask_login() -> str | None:
    """Return whom Flask-Login has loaded; who was not asked for is not looked up."""
    flask: Any = sys.modules.get("flask")
    if flask is None or not flask.has_app_context():
        return None
    loaded: Any = flask.g.get("_login_user")
    if loaded is None or getattr(loaded, "is_authenticated", False) is not True:
        return None
    return subjects.identity(loaded.get_id() if hasattr(loaded, "get_id") else loaded)
