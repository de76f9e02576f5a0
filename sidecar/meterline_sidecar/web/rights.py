"""What a request needs: which scope, and how long its body may be."""

from typing import Final

from meterline_sidecar.access.tokens import Scope

BODY_BYTES_MAX: Final = 64 << 10
EVENTS_BYTES_MAX: Final = 1 << 20  # a thousand events of a thousand bytes
UPLOAD_BYTES_MAX: Final = 8 << 20  # a file by a form; 50,000 events as they are
EVENTS_PATH: Final = "/v1/events"
UPLOAD_PATH: Final = "/imports"
LINES_PATH: Final = "/v1/imports/{name}/lines"
SAFE_METHODS: Final = frozenset(("GET", "HEAD", "OPTIONS"))


def is_portal(path: str) -> bool:
    """Say whether this is a customer's: they see nothing of the operator's pages."""
    return path == "/portal" or path.startswith("/portal/")


def needed_scope(method: str, path: str, query: bytes) -> Scope | None:
    """Return the right that a request needs; ``None`` where everybody may come.

    The customer's page checks a token of its own (``portal.py``), and Stripe signs
    what it sends (``webhooks.py``).
    """
    if is_portal(path) or path.startswith("/static/"):
        return None
    # Whoever may only read may log out, too: it changes nothing but their browser.
    if path in ("/livez", "/login", "/logout", "/favicon.ico", "/stripe/webhook"):
        return None
    if path == "/readyz":
        return "status" if query else None
    if method not in SAFE_METHODS:
        return "ingest" if _sends_events(method, path) else "write"
    return "status" if path in ("/status", "/metrics") else "read"


def body_bytes_max(method: str, path: str) -> int:
    """Return how long the body of a request may be."""
    if method == "POST" and path == UPLOAD_PATH:
        return UPLOAD_BYTES_MAX
    if _sends_events(method, path) or _puts_lines(method, path):
        return EVENTS_BYTES_MAX
    return BODY_BYTES_MAX


def _sends_events(method: str, path: str) -> bool:
    return method == "POST" and path == EVENTS_PATH


def _puts_lines(method: str, path: str) -> bool:
    before, after = LINES_PATH.split("{name}")
    return method == "PUT" and path.startswith(before) and path.endswith(after)
