"""What can be chosen on the app's side: an argument, a variable, or the default."""

import os
from math import isfinite
from pathlib import Path
from typing import Final

from msgspec import Struct

from meterline.settings import default_socket, default_spool_dir
from meterline.spool.segment import SEGMENT_BYTES_MIN

SPOOL_BYTES_MAX: Final = 64 << 20
SYNC_INTERVAL_S: Final = 1.0
APP_CHARS_MAX: Final = 256


class Options(Struct, frozen=True, kw_only=True):
    """Where events go, and within which bounds."""

    app_name: str
    socket: Path
    spool_dir: Path
    spool_bytes_max: int
    sync_interval_s: float | None
    """How often the spool is forced to the disk; ``None`` leaves that to the kernel."""
    is_disabled: bool


def resolve(
    *,
    app_name: str | None = None,
    socket: str | os.PathLike[str] | None = None,
    spool_dir: str | os.PathLike[str] | None = None,
    spool_bytes_max: int | None = None,
    sync_interval_s: float | None = None,
    disabled: bool | None = None,
) -> Options:
    """Return the options: argument before environment before default.

    The variables are named as the arguments: ``METERLINE_SOCKET`` and so on; but
    ``METERLINE_APP`` is the app's name.
    A ``sync_interval_s`` of 0 leaves the syncing to the kernel.

    Raises:
        ValueError: a value that can not be meant; the text names it.
    """
    env = os.environ.get
    name = app_name if app_name is not None else env("METERLINE_APP", "app")
    if not 0 < len(name) <= APP_CHARS_MAX:
        raise ValueError(
            f"app_name must have 1 to {APP_CHARS_MAX} characters: {name!r}"
        )
    if spool_bytes_max is None:
        spool_bytes_max = int(_number("METERLINE_SPOOL_BYTES_MAX", SPOOL_BYTES_MAX))
    if spool_bytes_max < 4 * SEGMENT_BYTES_MIN:
        raise ValueError(
            f"spool_bytes_max is {spool_bytes_max}; "
            f"the least that works is {4 * SEGMENT_BYTES_MIN}"
        )
    if sync_interval_s is None:
        sync_interval_s = _number("METERLINE_SYNC_INTERVAL_S", SYNC_INTERVAL_S)
    if sync_interval_s < 0:
        raise ValueError(f"sync_interval_s is negative: {sync_interval_s}")
    return Options(
        app_name=name,
        socket=Path(socket or env("METERLINE_SOCKET") or default_socket()),
        spool_dir=Path(spool_dir or env("METERLINE_SPOOL_DIR") or default_spool_dir()),
        spool_bytes_max=spool_bytes_max,
        sync_interval_s=sync_interval_s or None,
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
