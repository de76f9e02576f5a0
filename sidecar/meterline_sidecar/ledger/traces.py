"""Looks for a name in files, byte by byte: what nobody reads may still hold it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

READ_BYTES: Final = 4 << 20


def files_with(paths: Iterable[Path], name: str) -> dict[Path, int]:
    """Return in which of some files a name stands, and how often; read in pieces."""
    text = name.encode()
    found = ((path, _count(path, text)) for path in paths)
    return {path: n_times for path, n_times in found if n_times}


def _count(path: Path, name: bytes) -> int:
    """Return how often bytes stand in a file; in one that is gone meanwhile never."""
    n_times, rest = 0, b""
    try:
        with path.open("rb") as file:
            while piece := file.read(READ_BYTES):
                text = rest + piece
                n_times += text.count(name)
                # What may begin a name, and is too short to be one.
                rest = text[len(text) - len(name) + 1 :] if len(name) > 1 else b""
    except OSError:
        return 0
    return n_times
