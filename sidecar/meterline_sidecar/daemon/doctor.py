"""Is everything as it should be: looks at the machine, the files and the sidecar."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

from meterline.spool.dead import DeadSpool, spool_directories
from meterline_sidecar.clock import DAY_MS, HOUR_MS, MINUTE_MS, Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.backup import last_backup
from meterline_sidecar.web.answers.status import Status

Verdict = Literal["ok", "warning", "error"]

DISK_FREE_WARNING: Final = 1 << 30
DISK_FREE_ERROR: Final = 100 << 20
CLOCK_SKEW_MS_MAX: Final = MINUTE_MS
BACKUP_AGE_MS_MAX: Final = 2 * DAY_MS
SILENT_GAP_MS: Final = MINUTE_MS
WAL_RESET_FIXED: Final = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
"""SQLite versions, by branch, in which two connections may checkpoint safely."""


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""
    """What to do, unless all is well."""


def examine(config: Config, *, clock: Clock, status: Status | None) -> list[Check]:
    """Return every check, in order.

    Args:
        status: what ``/status`` answers; ``None`` when nobody answers.
    """
    return [
        *_sidecar(config, status),
        *_files(config),
        _disk(config.sidecar.database),
        *_clock(clock, status),
        _sqlite(sqlite3.sqlite_version_info),
        *_spools(config.sidecar.spool_dir, is_shared=bool(config.sidecar.allowed_uids)),
        *_producers(clock, status),
        _backup(config.sidecar.database, clock),
    ]


def _sidecar(config: Config, status: Status | None) -> Iterator[Check]:
    if status is None:
        yield Check(
            "sidecar",
            "error",
            f"no sidecar answers at {config.sidecar.http}",
            "start it: meterline run",
        )
        return
    yield Check("sidecar", "ok", f"version {status.version} answers")
    for problem in status.problems:
        yield Check("sidecar", "warning", problem, "see meterline status")


def _files(config: Config) -> Iterator[Check]:
    """Check that nothing of ours is open to everybody."""
    database = config.sidecar.database
    wanted = (
        ("socket", config.sidecar.socket, 0o660),
        ("socket's directory", config.sidecar.socket.parent, 0o755),
        ("database", database, 0o640),
        ("chain key", LedgerFiles(database).key, 0o600),
        ("spool directory", config.sidecar.spool_dir, 0o770),
    )
    for name, path, allowed in wanted:
        if not path.exists():
            yield Check(name, "warning", f"{path} is not there yet")
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if excess := mode & 0o777 & ~allowed:
            yield Check(
                name,
                "warning",
                f"{path} has mode {mode:04o}, which allows {excess:04o} too much",
                f"chmod {mode & allowed:04o} {path}",
            )
        else:
            yield Check(name, "ok", f"{path} has mode {mode:04o}")


def _disk(database: Path) -> Check:
    folder = next(p for p in (database, *database.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GiB free at {folder}"
    advice = "free some space: until then events wait at the apps"
    if free < DISK_FREE_ERROR:
        return Check("disk", "error", detail, advice)
    if free < DISK_FREE_WARNING:
        return Check("disk", "warning", detail, advice)
    return Check("disk", "ok", detail)


def _clock(clock: Clock, status: Status | None) -> Iterator[Check]:
    if status is None:
        return
    if status.clock is not None:
        yield Check("clock", "warning", f"the time is not real: {status.clock}")
        return
    skew_ms = clock.now_ms() - status.now_ms
    newest_ms = status.last_event_ms or 0
    if abs(skew_ms) > CLOCK_SKEW_MS_MAX:
        yield Check(
            "clock",
            "error",
            f"this machine and the sidecar are {skew_ms / 1000:.0f} s apart",
            "check the time service, and that both are on the same host",
        )
    elif newest_ms > clock.now_ms() + CLOCK_SKEW_MS_MAX:
        yield Check(
            "clock",
            "warning",
            "the newest event is in the future: the clock was set back, or an app's "
            "clock is ahead",
            "check the time service of this host",
        )
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


def _spools(spool_dir: Path, *, is_shared: bool) -> Iterator[Check]:
    if not spool_dir.is_dir():
        return
    if not os.access(spool_dir, os.W_OK | os.X_OK):
        yield Check(
            "spools",
            "error",
            f"{spool_dir} cannot be written by this user",
            "give it to the group that the apps and the sidecar share",
        )
        return
    if is_shared and not spool_dir.stat().st_mode & stat.S_IWGRP:
        yield Check(
            "spools",
            "warning",
            f"sidecar.allowed_uids lets other users send, but {spool_dir} is not"
            " their group's: their events wait in memory only",
            f"chmod 2770 {spool_dir}",
        )
    folders = spool_directories(spool_dir)
    try:
        n_bytes = sum(
            file.stat().st_blocks * 512 for path in folders for file in path.iterdir()
        )
        dead = [path for path in folders if _is_dead(path)]
    except OSError as error:
        yield Check(
            "spools",
            "error",
            f"{error.filename} cannot be read by this user: {error.strerror}",
            f"let the group in: chmod -R g+rwX {spool_dir}",
        )
        return
    detail = f"{len(folders)} in {spool_dir}, {n_bytes / (1 << 20):.1f} MiB"
    yield Check("spools", "ok", detail)
    if dead:
        yield Check(
            "spools",
            "warning",
            f"{len(dead)} left behind by dead workers, such as {dead[0]}",
            "the running sidecar takes them in within seconds",
        )


def _is_dead(folder: Path) -> bool:
    spool = DeadSpool.take(folder)
    if spool is not None:
        spool.close()
    return spool is not None


def _producers(clock: Clock, status: Status | None) -> Iterator[Check]:
    if status is None:
        return
    events = status.events
    if events.lost:
        yield Check(
            "events",
            "warning",
            f"{events.lost} were lost ({events.refused} of them refused)",
            "see meterline status; each is in the ledger with its reason",
        )
    for producer in status.producers.shown:
        silent_ms = clock.now_ms() - producer.seen_ms
        if producer.gap and silent_ms > SILENT_GAP_MS:
            yield Check(
                "gap",
                "warning",
                f"producer {producer.producer} ({producer.app}, process"
                f" {producer.pid} on {producer.host}) recorded"
                f" {producer.gap} event(s) that have not arrived, and has been"
                f" silent for {silent_ms // 1000} s",
                "if that process is dead and its spool is gone, they are lost",
            )


def _backup(database: Path, clock: Clock) -> Check:
    receipt = last_backup(database)
    advice = "meterline backup FILE, from a timer"
    if receipt is None:
        return Check("backup", "warning", "there is no backup yet", advice)
    age_ms = clock.now_ms() - receipt.finished_ms
    detail = f"{receipt.file}, {age_ms / HOUR_MS:.0f} h old"
    verdict: Verdict = "warning" if age_ms > BACKUP_AGE_MS_MAX else "ok"
    return Check("backup", verdict, detail, advice if verdict != "ok" else "")
