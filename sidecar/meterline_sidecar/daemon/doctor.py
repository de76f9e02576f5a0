"""Is everything as it should be: looks at the machine, the files and the sidecar.

What the sidecar itself finds wrong is told as ``/status`` has it; what only a look from
outside can find has a code of the same list.
"""

import grp
import os
import pwd
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Final, Literal

import msgspec

from meterline.spool.dead import DeadSpool, spool_directories
from meterline.spool.folder import Folder, NotOurs
from meterline_sidecar.clock import MINUTE_MS, Clock, lasting
from meterline_sidecar.config.places import BUCKET
from meterline_sidecar.config.shape import Config
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.archive_watch import ANSWER_S, ArchiveWatch
from meterline_sidecar.ledger.backup import last_backup
from meterline_sidecar.ledger.shelf import in_thread
from meterline_sidecar.ledger.shelves import open_archived
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Code, Found, Severity, n_of
from meterline_sidecar.store.open import open_reader
from meterline_sidecar.web.answers.status import Status
from meterline_sidecar.web.health import backup_problems, disk_problems

Verdict = Literal["ok"] | Severity

CLOCK_SKEW_MS_MAX: Final = MINUTE_MS
WAL_RESET_FIXED: Final = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""SQLite versions, by branch, in which two connections may checkpoint safely."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""
    """What to do, unless all is well."""
    code: Code | None = None
    """Of the list of problems; ``None`` where all is well."""

    @property
    def needs_person(self) -> bool:
        """Whether it stays until somebody has acted."""
        return self.verdict in ("warning", "error")


def examine(config: Config, *, clock: Clock, status: Status | None) -> list[Check]:
    """Return every check, in order.

    Args:
        status: what ``/status`` answers; ``None`` when nobody answers.
    """
    database = config.sidecar.database
    return [
        *_sidecar(config, status),
        *_files(config),
        *_disk(database, status),
        *_clock(clock, status),
        *_of_file(config, clock, status),
        *_spools(config, status),
        *_archive(config, status),
    ]


def _of_file(config: Config, clock: Clock, status: Status | None) -> Iterator[Check]:
    """Check what is of a ledger in a file; a server has ways of its own for these."""
    if config.server is None:
        yield _sqlite(sqlite3.sqlite_version_info)
        yield from _backup(config.sidecar.database, clock, status)


def _problem(name: str, problem: Found) -> Check:
    return Check(name, problem.severity, problem.text, problem.action, problem.code)


def _sidecar(config: Config, status: Status | None) -> Iterator[Check]:
    if status is None:
        text = f"no sidecar answers at {config.sidecar.http}"
        yield _problem("sidecar", found("sidecar_away", text))
        return
    yield Check("sidecar", "ok", f"version {status.version} answers")
    for problem in status.problems:
        yield _problem("sidecar", problem)


def _files(config: Config) -> Iterator[Check]:
    """Check that nothing of ours is open to everybody."""
    database = config.sidecar.database
    wanted = (
        ("socket", config.sidecar.socket, 0o660),
        ("socket's directory", config.sidecar.socket.parent, 0o755),
        *([("database", database, 0o640)] if config.server is None else []),
        ("chain key", LedgerFiles(database).key, 0o600),
        ("spool directory", config.sidecar.spool_dir, 0o770),
    )
    for name, path, allowed in wanted:
        if not path.exists():
            text = f"{path} is not there yet"
            # For the eye only: whoever is first to need it makes it.
            yield _problem(name, found("file_missing", text, action=""))
            continue
        at = path.stat()
        mode = stat.S_IMODE(at.st_mode)
        if is_ours_alone(at):
            allowed |= stat.S_IWGRP if stat.S_ISDIR(at.st_mode) else stat.S_IRGRP
        if excess := mode & 0o777 & ~allowed:
            text = f"{path} has mode {mode:04o}, which allows {excess:04o} too much"
            action = f"chmod {mode & allowed:04o} {quote(str(path))}"
            yield _problem(name, found("file_open_to_others", text, action=action))
        else:
            yield Check(name, "ok", f"{path} has mode {mode:04o}")


def is_ours_alone(at: os.stat_result) -> bool:
    """Whether a file is root's and of our group, which no other user is in.

    So are volumes of Kubernetes, whose mode this user cannot change.
    """
    if at.st_uid != 0 or os.geteuid() == 0 or at.st_gid != os.getegid():
        return False
    users = {user.pw_uid for user in pwd.getpwall() if user.pw_gid == at.st_gid}
    try:
        members = grp.getgrgid(at.st_gid).gr_mem
    except KeyError:
        members = []
    return not members and users <= {os.geteuid()}


def _told(status: Status | None, *codes: Code) -> bool:
    """Whether the sidecar has said this already; it looks at the same files."""
    return status is not None and any(one.code in codes for one in status.problems)


def _disk(database: Path, status: Status | None) -> Iterator[Check]:
    if _told(status, "disk_low", "disk_full"):
        return
    folder = next(p for p in (database, *database.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    problems = list(disk_problems(free, at=str(folder)))
    yield from (_problem("disk", problem) for problem in problems)
    if not problems:
        yield Check("disk", "ok", f"{free / (1 << 30):.1f} GiB free at {folder}")


def _clock(clock: Clock, status: Status | None) -> Iterator[Check]:
    if status is None or _told(status, "clock_rehearsal", "clock_behind_events"):
        return
    skew_ms = clock.now_ms() - status.now_ms
    if abs(skew_ms) > CLOCK_SKEW_MS_MAX:
        text = f"this machine and the sidecar are {skew_ms / 1000:.0f} s apart"
        yield _problem("clock", found("clocks_apart", text))
    else:
        yield Check("clock", "ok", "the sidecar and its events agree with it")


def _sqlite(version: tuple[int, int, int]) -> Check:
    text = ".".join(map(str, version))
    fixed = any(
        version >= first if first == WAL_RESET_FIXED[-1] else _in_branch(version, first)
        for first in WAL_RESET_FIXED
    )
    if fixed:
        return Check("SQLite", "ok", f"version {text}")
    return Check(
        "SQLite",
        "ok",
        f"version {text} has the WAL-reset bug (fixed in 3.51.3), which needs two"
        " connections that write; the sidecar has one",
        "let nothing else write to the database",
    )


def _in_branch(version: tuple[int, int, int], first: tuple[int, int, int]) -> bool:
    return version[:2] == first[:2] and version >= first


def _spools(config: Config, status: Status | None) -> Iterator[Check]:
    spool_dir, is_shared = config.sidecar.spool_dir, bool(config.sidecar.allowed_uids)
    ledger = "" if status is None else status.ledger
    if not spool_dir.is_dir():
        return
    if not os.access(spool_dir, os.W_OK | os.X_OK):
        text = f"{spool_dir} cannot be written by this user"
        yield _problem("spools", found("spool_dir_not_writable", text))
        return
    if is_shared and not spool_dir.stat().st_mode & stat.S_IWGRP:
        text = (
            f"sidecar.allowed_uids lets other users send, but {spool_dir} is not their"
            " group's: their events wait in memory only"
        )
        action = f"chmod 2770 {quote(str(spool_dir))}"
        yield _problem("spools", found("spool_dir_not_shared", text, action=action))
    folders = [Path(found) for found in spool_directories(spool_dir)]
    dead: list[Path] = []
    n_bytes = 0
    for path in folders:
        try:
            n_bytes += _bytes_of(path)
            if _is_left_behind(path, ledger):
                dead.append(path)
        except FileNotFoundError:
            continue  # somebody has just drained it
        except OSError as error:
            yield _problem("spools", _unreadable(error, path))
    detail = f"{len(folders)} in {spool_dir}, {n_bytes / (1 << 20):.1f} MiB"
    yield Check("spools", "ok", detail)
    if dead:
        text = f"{len(dead)} left behind by dead workers, such as {dead[0]}"
        yield _problem("spools", found("spools_left_behind", text))


def _unreadable(error: OSError, path: Path) -> Found:
    if isinstance(error, NotOurs):
        action = f"see who made it, and move {path} away"
        return found("spools_not_readable", str(error), action=action)
    text = f"{error.filename or path} cannot be read by this user: {error.strerror}"
    action = f"let the group in: chmod -R g+rwX {quote(str(path.parent))}"
    return found("spools_not_readable", text, action=action)


def _bytes_of(path: Path) -> int:
    """Return the room that a spool takes; it may be gone by now."""
    folder = Folder.open(path)
    try:
        return folder.size_bytes()
    finally:
        folder.close()


def _is_left_behind(path: Path, ledger: str) -> bool:
    """Say whether a dead worker's spool waits here. It is only read, whoever made it.

    Args:
        path: where it is.
        ledger: the number of the ledger here, if a sidecar runs: that tells itself of
            spools that wait for another one.
    """
    spool = DeadSpool.take(path)
    if spool is None:
        return False
    try:
        spool.check()
    finally:
        spool.close()
    return not ledger or spool.hello.ledger in (0, int(ledger, 16))


def _backup(database: Path, clock: Clock, status: Status | None) -> Iterator[Check]:
    if _told(status, "backup_missing", "backup_old"):
        return
    receipt = last_backup(database)
    problems = list(backup_problems(database, receipt, now_ms=clock.now_ms()))
    yield from (_problem("backup", problem) for problem in problems)
    if problems:
        return
    if receipt is None:
        yield _problem("backup", found("backup_missing", "there is no backup yet"))
    else:
        age = lasting(clock.now_ms() - receipt.finished_ms)
        yield Check("backup", "ok", f"{receipt.file}, {age} old")


def _archive(config: Config, status: Status | None) -> Iterator[Check]:
    """Check that old events have a directory to leave for; buckets are not asked."""
    url = config.archive.url
    if url is None or BUCKET in url or _told(status, "archive_not_written"):
        return
    # In a thread: a directory of another host may never answer.
    answer = in_thread(lambda: os.access(url, os.W_OK | os.X_OK))
    try:
        if answer.result(ANSWER_S):
            yield Check("archive", "ok", f"{url} can be written")
            return
        text = f"{url} is not there, or cannot be written by this user"
    except TimeoutError:
        text = f"{url} did not answer in {ANSWER_S:.0f} s"
    yield _problem("archive", found("archive_not_written", text))


async def examine_archive(config: Config, status: Status | None) -> list[Check]:
    """Check that each file of the archive is where the configuration says.

    The files are looked for by name and size, and not read.

    Args:
        status: what ``/status`` answers; ``None`` when nobody answers.
    """
    places = config.archive.places
    if _told(status, "archive_not_readable"):
        return []
    is_bucket = any(BUCKET in place for place in places)
    if status is not None and (is_bucket or not _is_its_user(config)):
        return []  # the sidecar can read them, and this user need not
    if config.server is None and not config.sidecar.database.exists():
        return []
    try:
        reader = await open_reader(config.ledger)
        try:
            watch = ArchiveWatch(reader, open_archived(config.archive, key=b""))
            await watch.look()
        finally:
            await reader.close()
    except MeterlineError as error:
        if status is not None:
            return []  # the sidecar reads it, and looks as well
        return [Check("archive files", "error", f"not looked for: {error}")]
    if watch.trouble is not None:
        problem = found("archive_not_readable", watch.trouble)
        return [_problem("archive files", problem)]
    if not watch.n_files:
        return []
    n_seen, n_all = watch.n_files - watch.n_left, n_of(watch.n_files, "file")
    said = f"{n_seen} of {n_all}" if watch.n_left else n_all
    detail = f"{said} at {watch.where}"
    return [Check("archive files", "ok", detail)]


def _is_its_user(config: Config) -> bool:
    """Say whether this user can read whatever the sidecar's user can."""
    try:
        owner = LedgerFiles(config.sidecar.database).key.stat().st_uid
    except OSError:
        return False
    return os.geteuid() in (0, owner)
