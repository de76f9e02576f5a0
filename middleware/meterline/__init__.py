"""Meter every request of an ASGI app, durably, in one line.

from meterline import MeterMiddleware

app.add_middleware(MeterMiddleware)
"""

from typing import TYPE_CHECKING, Any

from meterline.asgi import MeterMiddleware
from meterline.exclude import NOISE
from meterline.handle import Handle
from meterline.meter import Meter, Stats
from meterline.recording import (
    current,
    record,
    set_property,
    set_subject,
    set_total,
    skip,
)
from meterline.subjects import (
    api_key_subject,
    from_api_key,
    from_state,
    from_trusted_header,
    from_user,
)

if TYPE_CHECKING:
    from meterline.portal import portal_token, read_portal_key

__version__ = "0.1.0"

__all__ = [
    "NOISE",
    "Handle",
    "Meter",
    "MeterMiddleware",
    "Stats",
    "__version__",
    "api_key_subject",
    "current",
    "from_api_key",
    "from_state",
    "from_trusted_header",
    "from_user",
    "portal_token",
    "read_portal_key",
    "record",
    "set_property",
    "set_subject",
    "set_total",
    "skip",
]


def __getattr__(name: str) -> Any:
    """Load what only an app with links to its customers' pages asks for, and hashing."""
    if name in ("portal_token", "read_portal_key"):
        # Not by `importlib`, as in `system`.
        return getattr(__import__("meterline.portal", fromlist=[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
