"""The same fixtures as for the other ASGI tests."""

from tests.integration.asgi.conftest import metered, sidecar

__all__ = ["metered", "sidecar"]
