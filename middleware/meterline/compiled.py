"""The compiled part, where it was built and is wanted: see ``native/``.

Whatever it does is said in Python, too, and is done so where it is not there: without a
compiler as this was installed, in another interpreter than CPython, and with
``METERLINE_PURE=1``.
"""

import mmap
import os
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar
from zlib import crc32

from meterline.complaints import troubles, words

VARIABLE: Final = "METERLINE_PURE"
SOURCES: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "native")
STALE: Final = "the compiled part is another version's: install Meterline again"

Function = TypeVar("Function", bound=Callable[..., Any])


def _loaded() -> ModuleType | None:
    """Return the extension module; ``None`` where all goes the way in Python."""
    if os.environ.get(VARIABLE, "").lower() not in ("", "0", "false", "no", "off"):
        return None
    try:  # not by `importlib`, as in `system`
        module = __import__("meterline.native", fromlist=["take"])
    except ModuleNotFoundError:  # not built
        return None
    except ImportError as error:
        troubles.add(f"the compiled part cannot be loaded: {words(error)}")
        return None
    crc = module.take()
    if crc is None:  # somebody else in this process has it
        return None
    sources = _sources()
    if sources and crc32(sources) != crc:
        troubles.add(STALE)
        return None
    return module


def _sources() -> bytes:
    """Return what the compiled part was made from: nothing but in a checkout."""
    if not os.path.isdir(SOURCES):
        return b""
    sources = b""
    for name in sorted(os.listdir(SOURCES)):
        if name.endswith(".c"):
            with open(os.path.join(SOURCES, name), "rb") as file:
                sources += file.read()
    return sources


native: Final = _loaded()
in_python: Final[dict[str, Callable[..., Any]]] = {}
"""What stands behind that which is compiled, by its name."""


def install(**names: Any) -> bool:
    """Give the compiled part what it works on; tell whether it can work on it.

    It reads attributes where they lie in objects. Another msgspec may lay them out in
    another way.
    """
    assert native is not None
    try:
        native.install(**names)
    except (AttributeError, TypeError) as error:
        troubles.add(f"the compiled part cannot be used: {words(error)}")
        return False
    return True


if TYPE_CHECKING:

    class Appender(Protocol):
        """What writes to a map, one piece behind the other: a map itself can do so."""

        def write(self, piece: bytes, /) -> int:
            """Write all of a piece.

            Raises:
                ValueError: it does not fit, or the map is closed.
            """
            ...

        def tell(self) -> int:
            """Return where the next piece goes."""
            ...

        def seek(self, position: int, /) -> object:
            """Let it go somewhere else."""
            ...


def appender(memory: mmap.mmap) -> "Appender":
    """Return what appends to ``memory``, from its first byte on."""
    if native is None:
        return memory
    made: Appender = native.Appender(memory)
    return made


def stand_in(function: Function) -> Function:
    """Return what does the same as ``function``, compiled where that can be."""
    in_python[function.__name__] = function
    if native is None:
        return function
    made: Function = native.stand_in(function)
    return made
