"""Puts a damaged ledger aside, so that nothing that is still readable gets lost."""

import shutil
from pathlib import Path

from meterline_sidecar.files import LedgerFiles


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
        for source in LedgerFiles(database).kept:
            if source.exists():
                shutil.copy2(source, folder / source.name)
    return folder
