"""What can be chosen on the app's side: an argument, a variable, or the default."""

import os
from math import isfinite
from pathlib import Path
from typing import Final, TypedDict, Unpack

from msgspec import Struct

from meterline.settings import default_socket, default_spool_dir
from meterline.spool.segment import SEGMENT_BYTES_MIN

SPOOL_BYTES_MAX: Final = 64 << 20
SYNC_INTERVAL_S: Final = 1.0
APP_CHARS_MAX: Final = 256


class MeterOptions(TypedDict, total=False):
    """What ``Meter`` and ``MeterMiddleware`` take, in one place.

    Whatever is left out, or ``None``, comes from the environment: from the variable
    of the same name, ``METERLINE_SOCKET`` for ``socket``; then from the default.
    """

    app_name: str | None
    """How this app is called in the sidecar's answers; ``METERLINE_APP``."""
    socket: str | os.PathLike[str] | None
    """Where the sidecar listens."""
    spool_dir: str | os.PathLike[str] | None
    """Where events wait for it."""
    spool_bytes_max: int | None
    """Above it events are dropped and counted; 64 MiB."""
    sync_interval_s: float | None
    """How often events are forced to the disk; 0 leaves that to the kernel."""
    disabled: bool | None
    """Record nothing."""


class Options(Struct, frozen=True, kw_only=True):
    """Where events go, and within which bounds."""

    app_name: str
    socket: Path
    spool_dir: Path
    spool_bytes_max: int
    sync_interval_s: float | None
    """How often the spool is forced to the disk; ``None`` leaves that to the kernel."""
    is_disabled: bool


def resolve(**given: Unpack[MeterOptions]) -> Options:
    """Return the options: argument before environment before default.

    Raises:
        ValueError: a value that cannot be meant; the text names it.
        TypeError: an option that does not exist.
    """
    if strange := given.keys() - MeterOptions.__annotations__.keys():
        known = ", ".join(MeterOptions.__annotations__)
        raise TypeError(f"no such option: {min(strange)}; there are {known}")
    env = os.environ.get
    name = given.get("app_name")
    if name is None:
        name = env("METERLINE_APP", "app")
    if not 0 < len(name) <= APP_CHARS_MAX:
        raise ValueError(
            f"app_name must have 1 to {APP_CHARS_MAX} characters: {name!r}"
        )
    bytes_max = given.get("spool_bytes_max")
    if bytes_max is None:
        bytes_max = int(_number("METERLINE_SPOOL_BYTES_MAX", SPOOL_BYTES_MAX))
    if bytes_max < 4 * SEGMENT_BYTES_MIN:
        raise ValueError(
            f"spool_bytes_max is {bytes_max}; "
            f"the least that works is {4 * SEGMENT_BYTES_MIN}"
        )
    interval_s = given.get("sync_interval_s")
    if interval_s is None:
        interval_s = _number("METERLINE_SYNC_INTERVAL_S", SYNC_INTERVAL_S)
    if interval_s < 0:
        raise ValueError(f"sync_interval_s is negative: {interval_s}")
    socket = given.get("socket") or env("METERLINE_SOCKET") or default_socket()
    folder = given.get("spool_dir") or env("METERLINE_SPOOL_DIR") or default_spool_dir()
    disabled = given.get("disabled")
    return Options(
        app_name=name,
        socket=Path(socket),
        spool_dir=Path(folder),
        spool_bytes_max=bytes_max,
        sync_interval_s=interval_s or None,
        is_disabled=_is_on("METERLINE_DISABLED") if disabled is None else disabled,
    )


def _number(name: str, default: float) -> float:
    text = os.environ.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError as error:
        raise ValueError(f"{name} is not a number: {text!r}") from error
    if not isfinite(number):
        raise ValueError(f"{name} is not a finite number: {text!r}")
    return number


def _is_on(name: str) -> bool:
    text = os.environ.get(name, "").lower()
    if text in ("1", "true", "yes", "on"):
        return True
    if text in ("", "0", "false", "no", "off"):
        return False
    raise ValueError(f"{name} must be 1 or 0: {text!r}")
