"""Loads what is large at its first use; that it is missing is told at the start.

What few sidecars ever use is not imported at the top of a module, which loads it, but
named there: ``_library = later("httpx")``, and then ``_library()``.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def later(module: str, *, needs: str | None = None) -> Callable[[], Any]:
    """Return a function that returns a module, loaded by the first call.

    Args:
        needs: the package that must be installed, where the module is one of ours.

    Raises:
        ModuleNotFoundError: it is not installed; as an import would, and right now.
    """
    package = needs or module
    if find_spec(package) is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    return partial(import_module, module)
