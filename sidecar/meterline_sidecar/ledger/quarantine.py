"""Puts a damaged ledger aside, so that nothing that is still readable gets lost."""

import shutil
from pathlib import Path
from typing import Final

SUFFIXES: Final = ("", "-wal", "-shm", ".key", ".head")


def quarantine(database: Path) -> Path:
    """Copy the database with the files beside it; return the directory of the copy.

    The same damage is copied once: the directory is named after the file's time and
    size, so that a supervisor that restarts for ever does not fill the disk.
    """
    state = database.stat()
    name = f"{database.name}.corrupt-{state.st_mtime_ns}-{state.st_size}"
    folder = database.with_name(name)
    if not folder.exists():
        folder.mkdir(mode=0o700)
        for suffix in SUFFIXES:
            source = database.with_name(database.name + suffix)
            if source.exists():
                shutil.copy2(source, folder / source.name)
    return folder
