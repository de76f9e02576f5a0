"""``[sidecar]``: where the daemon listens and keeps things, and who may come in."""

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta, field

from meterline.settings import default_socket, default_spool_dir, state_dir
from meterline_sidecar.config.centre import Role
from meterline_sidecar.config.kinds import HOST_NAME, HTTP, LEDGER, PROXY
from meterline_sidecar.config.postgres import DATABASE

UID_MAX: Final = 2**32 - 2
KEY_HOURS_MAX: Final = 7 * 24

EveryS = Annotated[int, Meta(ge=1, le=3600)]
PerS = Annotated[int, Meta(ge=1, le=1_000_000)]


def default_database() -> Path:
    """Return where a ledger is unless a file says otherwise."""
    return Path(state_dir(), "meterline.db")


class SidecarConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where the daemon listens and keeps things. Paths are relative to the file."""

    role: Annotated[
        Role,
        Meta(
            description="The role of this sidecar. `single`: the only one. `edge`: it"
            " stores the events of this host and forwards them to a centre, which"
            " bills. `centre`: it also receives events of its edges. See"
            " docs/fleet.md.",
        ),
    ] = "single"
    socket: Annotated[
        Path,
        Meta(
            description="The Unix socket that the apps send to.",
            extra={
                "default": '`"STATE/meterline.sock"`',
                "variable": "METERLINE_SOCKET",
            },
        ),
    ] = field(default_factory=lambda: Path(default_socket()))
    database: Annotated[
        Path,
        Meta(
            description="The SQLite file that holds the ledger. For a centre also a"
            " PostgreSQL database, `postgresql://USER@HOST/NAME`: see"
            " docs/postgresql.md.",
            extra={
                "kind": DATABASE,
                "default": '`"STATE/meterline.db"`',
                "variable": "METERLINE_DATABASE",
            },
        ),
    ] = field(default_factory=default_database)
    database_password_file: Annotated[
        Path | None,
        Meta(
            description="A file with only the password for a database on a server."
            " Without it, the password is found as `psql` does: `PGPASSWORD`,"
            " `PGPASSFILE`, `~/.pgpass`.",
        ),
    ] = None
    database_files: Annotated[
        Path | None,
        Meta(
            description="With a database on a server: the path of the ledger's"
            " companion files, without their suffixes such as `.key`.",
            extra={"default": '`"STATE/meterline.db"`'},
        ),
    ] = None
    spool_dir: Annotated[
        Path,
        Meta(
            description="Where apps keep events until they are acked; the sidecar"
            " drains what dead workers leave there. Each sidecar on a host needs its"
            " own directory.",
            extra={
                "default": '`"STATE/spool"`',
                "variable": "METERLINE_SPOOL_DIR",
            },
        ),
    ] = field(default_factory=lambda: Path(default_spool_dir()))
    http: Annotated[
        str,
        Meta(
            description="Where the HTTP API listens: HOST:PORT or unix:PATH. Any "
            "address but the loopback needs a token.",
            extra={"kind": HTTP, "variable": "METERLINE_HTTP"},
        ),
    ] = "127.0.0.1:8270"
    http_names: Annotated[
        tuple[Annotated[str, Meta(extra={"kind": HOST_NAME})], ...],
        Meta(
            description="Host names to accept besides localhost and IP addresses, such "
            "as the name of a proxy in front."
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[Annotated[str, Meta(extra={"kind": PROXY})], ...],
        Meta(
            description="Proxies in front whose `X-Forwarded-For` and"
            " `X-Forwarded-Proto` are believed: addresses, networks such as"
            " 10.0.0.0/8, or `unix` for connections over a Unix socket. From anybody"
            " else, these headers are ignored."
        ),
    ] = ()
    http_requests_per_s: Annotated[
        PerS,
        Meta(
            description="How many requests per second one client may send, on average."
        ),
    ] = 200
    metrics_customers: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000,
            description="How many customers `/metrics` includes, those with the "
            "highest drafts; each adds a few time series.",
        ),
    ] = 0
    require_token: Annotated[
        bool,
        Meta(
            description="Require a token on the loopback too; set this behind a proxy."
        ),
    ] = False
    pricing: Annotated[
        Path | None,
        Meta(
            description="The file that holds the plans.",
            extra={
                "default": "`pricing.toml` next to this file, if it exists",
                "variable": "METERLINE_PRICING",
            },
        ),
    ] = None
    allowed_uids: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=UID_MAX)], ...],
        Meta(
            description="Users whose apps may send events, besides root and the "
            "sidecar's own user. They must share the group of the spool directory: see "
            "docs/deploy.md."
        ),
    ] = ()
    takes_over: Annotated[
        tuple[Annotated[str, Meta(extra={"kind": LEDGER})], ...],
        Meta(
            description="Ledgers that are gone for good, each by the number that"
            " `meterline doctor` names: what dead workers left for one of them is taken"
            " in here. If it still exists, those events can count twice. See"
            " docs/backup.md."
        ),
    ] = ()
    aggregate_every_s: Annotated[
        EveryS, Meta(description="How often new events are added up, in seconds.")
    ] = 2
    idempotency_key_hours: Annotated[
        int,
        Meta(
            ge=1,
            le=KEY_HOURS_MAX,
            description="For how many hours requests that a client repeats with the"
            " same key count once: see `idempotency_header` of the middleware. A key"
            " takes about 60 bytes for that time and one more day; the newest"
            " 5,000,000 are kept.",
        ),
    ] = 24
