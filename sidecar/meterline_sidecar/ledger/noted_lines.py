"""Files of notes beside the ledger: a line of JSON each, appended durably.

Whoever is killed leaves half a line, and a line that cannot be read says nothing.
"""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

from meterline_sidecar.files import sync

T = TypeVar("T", bound=msgspec.Struct)


def append(path: Path, note: msgspec.Struct) -> None:
    """Add a line, durably; the file is made where there is none."""
    is_new = not path.exists()
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        # A line of its own, also behind half of one.
        file.write(b"\n" + msgspec.json.encode(note) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        sync(path.parent)


def read(path: Path, kind: type[T]) -> list[T]:
    """Return what the lines say, in order."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found: list[T] = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return found
