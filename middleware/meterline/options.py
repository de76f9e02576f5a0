"""What can be chosen on the app's side: an argument, a variable, or the default."""

import contextlib
import os
from math import isfinite, isnan
from typing import Final, TypedDict, Unpack

from msgspec import Struct

from meterline.complaints import troubles
from meterline.quantities import class_name, exact_text, is_unicode
from meterline.settings import default_socket, default_spool_dir
from meterline.spool.segment import SEGMENT_BYTES_MIN
from meterline.system import AnyPath

SPOOL_BYTES_MAX: Final = 64 << 20
WAIT_S_MAX: Final = 1e9  # 30 years: a lock cannot wait for a few hundred
SYNC_INTERVAL_S: Final = 1.0
APP_CHARS_MAX: Final = 256


class MeterOptions(TypedDict, total=False):
    """What ``Meter`` and ``MeterMiddleware`` take, in one place.

    Whatever is left out, or ``None``, comes from the environment: from the variable
    of the same name, ``METERLINE_SOCKET`` for ``socket``; then from the default.
    """

    app_name: str | None
    """How this app is called in the sidecar's answers; ``METERLINE_APP``."""
    socket: AnyPath | None
    """Where the sidecar listens."""
    spool_dir: AnyPath | None
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
    socket: str
    spool_dir: str
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
        raise TypeError(
            f"no such option: {min(strange)}; there are {known}, and of a middleware"
            " subject, exclude, idempotency_header"
        )
    disabled = given.get("disabled")
    is_disabled = _is_on("METERLINE_DISABLED") if disabled is None else disabled
    if type(is_disabled) is not bool:
        raise ValueError(f"disabled must be True or False: {is_disabled!r}")
    return Options(
        app_name=_app_name(given.get("app_name")),
        socket=_path("socket", given.get("socket")) or default_socket(),
        spool_dir=_path("spool_dir", given.get("spool_dir")) or default_spool_dir(),
        spool_bytes_max=_spool_bytes_max(given.get("spool_bytes_max")),
        sync_interval_s=_sync_interval_s(given.get("sync_interval_s")),
        is_disabled=is_disabled,
    )


def seconds_to_wait(given: object, *, usual_s: float) -> float:
    """Return how long to wait at most: as was given, or as usual if that is no time.

    Raises nothing, whatever is given: it is asked where the app must not see our
    errors. What is no time is counted among the troubles, and said the first time.
    """
    with contextlib.suppress(Exception):
        if isinstance(given, int | float) and not isinstance(given, bool):
            wait_s = float(given)
            if not isnan(wait_s):
                return min(max(wait_s, 0.0), WAIT_S_MAX)
    troubles.add(
        f"timeout_s must be a number of seconds, and one of type {class_name(given)} is"
        f" none: {usual_s:g} s are taken"
    )
    return usual_s


def _app_name(given: object) -> str:
    option = "METERLINE_APP" if given is None else "app_name"
    name = exact_text(os.environ.get(option, "app") if given is None else given)
    if name is None or not 0 < len(name) <= APP_CHARS_MAX or not is_unicode(name):
        shown = given if name is None else name
        raise ValueError(
            f"{option} must be a text of 1 to {APP_CHARS_MAX} characters: {shown!r:.60}"
        )
    return name


def _path(option: str, given: AnyPath | None) -> str | None:
    """Return the path that was given, ``None`` where none was."""
    if given is None or (isinstance(given, str) and not given):
        option = f"METERLINE_{option.upper()}"
        given = os.environ.get(option)
        if not given:
            return None
    text = _path_text(given)
    if text is None:
        raise ValueError(f"{option} must be a path: {given!r:.100}")
    return text


def _path_text(path: AnyPath) -> str | None:
    """Return a path as text, ``None`` where no file can be called so."""
    try:
        text = exact_text(os.fspath(path))
        if not text or b"\0" in os.fsencode(text):
            return None
        return text.rstrip("/") or "/"  # one place, however it is written
    except (TypeError, ValueError):
        return None


def _spool_bytes_max(given: object) -> int:
    option, number = "spool_bytes_max", given
    if given is None:
        option = "METERLINE_SPOOL_BYTES_MAX"
        number = int(_number(option, SPOOL_BYTES_MAX))  # a part of a byte is nothing
    bytes_max = _exact_number(option, number)
    if bytes_max < 4 * SEGMENT_BYTES_MIN:
        raise ValueError(
            f"{option} is {bytes_max:.0f}; "
            f"the least that works is {4 * SEGMENT_BYTES_MIN}"
        )
    return int(bytes_max)


def _sync_interval_s(given: object) -> float | None:
    option, number = "sync_interval_s", given
    if given is None:
        option = "METERLINE_SYNC_INTERVAL_S"
        number = _number(option, SYNC_INTERVAL_S)
    interval_s = _exact_number(option, number)
    if interval_s < 0:
        raise ValueError(f"{option} is negative: {interval_s}")
    return interval_s or None


def _exact_number(option: str, value: object) -> float:
    """Return the finite number that ``value`` is, of whatever class."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):
            number = float(value)
            if isfinite(number):
                return number
    raise ValueError(f"{option} must be a finite number: {value!r}")


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
