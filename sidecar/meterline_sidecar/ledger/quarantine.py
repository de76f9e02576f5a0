"""Puts a damaged ledger aside, so that nothing that is still readable gets lost."""

import shutil
from pathlib import Path
from typing import Final

from meterline_sidecar.files import LedgerFiles

PART: Final = ".part"


def quarantine(database: Path) -> Path:
    """Copy the database with the files beside it; return the directory of the copy.

    Once, until a person has looked and taken the directory away: a supervisor that
    restarts for ever must not fill the disk, whatever a start changes in the file.

    Raises:
        OSError: it cannot be copied.
    """
    files = LedgerFiles(database)
    pattern = f"{files.database.name}.corrupt-*"
    before = sorted(files.database.parent.glob(pattern))
    kept = [folder for folder in before if not folder.name.endswith(PART)]
    if kept:
        return kept[0]
    for unfinished in before:  # somebody was ended while copying
        shutil.rmtree(unfinished)
    state = files.database.stat()
    name = f"{files.database.name}.corrupt-{state.st_mtime_ns}-{state.st_size}"
    folder = files.database.with_name(name)
    part = folder.with_name(folder.name + PART)
    part.mkdir(mode=0o700)
    for source in files.kept:
        if source.exists():
            shutil.copy2(source, part / source.name)
    return part.rename(folder)
