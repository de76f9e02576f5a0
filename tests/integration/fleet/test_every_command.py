"""Whatever a command prints, it prints the same of a ledger on PostgreSQL."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from click.testing import CliRunner

from meterline_sidecar.cli.main import cli
from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.errors import MeterlineError
from tests.fleet import CENTRE, make_certificate, on_server
from tests.integration.fleet.asked import BY_CHANCE
from tests.integration.fleet.lived import DAY_MS, METERLINE, PRICING
from tests.ports import Port
from tests.postgres_server import shared_database
from tests.producer import NOON_MS, WITH_PROPERTIES, Connection, batch, event
from tests.sidecar_process import SIDECAR, SidecarProcess, until

NOVEMBER: Final = ("--period", "2026-11")
REASON: Final = ("--reason", "a test")
BEFORE: Final = "2026-11-06T12:00:05Z"
SINCE: Final = "2026-12-01T01:00:00Z"
ROW: Final = (
    '{"id":"m1","source":"old","time":"2026-10-02T08:00:00Z","subject":"acct_1"}\n'
)
ASKED: Final[tuple[tuple[str, ...], ...]] = (
    ("check",),
    ("customers", "list"),
    ("customers", "show", "acme"),
    ("customers", "add", "new", "--plan", "starter", "--subject", "new_*"),
    ("customers", "change", "new", "--name", "New"),
    ("usage",),
    ("events",),
    ("events", *NOVEMBER, "--customer", "acme", "--status", "2xx"),
    ("credit", "acme", "0.50", *REASON),
    ("credit", "acme"),
    ("invoice", "acme", *NOVEMBER),
    ("invoice", "acme", *NOVEMBER, "--finalize"),
    ("invoice", "INV-0001"),
    ("invoice", "INV-0001", "--credit", "0.10", *REASON),
    ("invoice", "INV-0001", "--sent", *REASON),
    ("invoice", "INV-0001", "--paid", "0.10"),
    ("invoices",),
    ("invoices", "--customer", "acme", *NOVEMBER),
    ("statement", "acme"),
    ("explain", "INV-0001"),
    ("explain", "acme", *NOVEMBER),
    ("explain", "INV-0001", "1", "--events", "jsonl"),
    ("report",),
    ("outbox", "list"),
    ("outbox", "show", "1"),
    ("outbox", "drop", "1", *REASON),
    ("outbox", "retry", "1"),
    ("outbox", "invoice", "INV-0001"),
    ("late", "list"),
    ("late", "accept", "1", *REASON),
    ("late", "reject", "2", *REASON),
    ("held", "list"),
    ("held", "accept", "16", *REASON),
    ("held", "reject", "17", *REASON),
    ("correct", "--event", "1", *REASON),
    ("correct", "--list"),
    ("close", "--dry-run", "--skip-grace"),
    ("close", "--list", "held"),
    ("import", "read", "march.jsonl", "--stage", "march"),
    ("import", "list"),
    ("import", "diff", "march"),
    ("import", "commit", "march"),
    ("import", "read", "april.jsonl", "--stage", "april"),
    ("import", "discard", "april"),
    ("meters", "rebuild", "api_calls", "--from", "2026-12-01"),
    ("edges", "list"),
    ("alerts",),
    ("audit",),
    ("audit", "--customer", "acme"),
    ("archive", "list"),
    ("archive", "verify"),
    ("erase", "stranger", *REASON, "--yes"),
    ("reload", "--dry-run"),
    ("customers", "adopt", "globex", "--owner", "api"),
    ("customers", "end", "new", "--day", "2027-01-01"),
    ("what-if", "--plan", "centre/pricing.toml", *NOVEMBER),
    ("token", "list"),
    ("verify",),
    ("verify", "--invoices"),
)
"""Each command with what it needs, in this order; each is given ``--json`` besides."""
REFUSED: Final = (
    ("archive", "run"),  # events stay here
    ("archive", "restore", "nothing.parquet"),
    ("edges", "adopt", "one", *REASON),  # there is none
    ("edges", "retire", "one", *REASON),
    ("reconcile", *NOVEMBER),  # there is no Stripe
)
ELSEWHERE: Final = {
    "backup": "a server has backups of its own",
    "backups": "a server has backups of its own",
    "centre export": "test_centre tries it",
    "centre import": "test_centre tries it",
    "config reference": "it reads no ledger",
    "config schema": "it reads no ledger",
    "demo": "it makes a ledger of its own",
    "doctor": "it looks at this machine",
    "init": "it reads no ledger",
    "quote": "it reads no ledger",
    "restore": "a server has backups of its own",
    "run": "it runs here",
    "status": "it says how a process fares",
    "stripe apply": "it asks Stripe",
    "stripe plan": "it asks Stripe",
    "tail": "it goes on for ever",
    "token create": "what it makes is random",
    "token portal": "what it makes is random",
    "token revoke": "what it needs is random",
    "top": "it goes on for ever",
}
"""Which commands nobody calls here, and why."""


def commands(group: click.Group, *names: str) -> Iterator[str]:
    """Yield every command that can be called."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, *names, name)
        else:
            yield " ".join((*names, name))


async def recorded(sidecar: SidecarProcess) -> None:
    """Send what apps record before the month is final."""
    async with Connection(sidecar.socket) as app:
        await app.hello("a" * 32)
        await app.ship(
            batch(
                *(event(route=f"/{i % 3}", **WITH_PROPERTIES) for i in range(12)),
                event(subject="globex_1"),
                event(subject="stranger"),
                event(status=503),
                *(
                    event(time_ms=NOON_MS + n * DAY_MS, subject="globex_1")
                    for n in (400, 401)
                ),
            )
        )


async def shipped(sidecar: SidecarProcess, letter: str) -> None:
    """Send an event as a worker of its own does."""
    async with Connection(sidecar.socket) as app:
        await app.hello(letter * 32)
        await app.ship(batch(event(**WITH_PROPERTIES)))


def late(sidecar: SidecarProcess, letter: str, n: int) -> None:
    """Send what apps record for a month that is final, and wait until it is held back."""
    asyncio.run(shipped(sidecar, letter))
    until(lambda: len(sidecar.get("/v1/late")["late"]) == n)


def printed(
    folder: Path, database: PostgresUrl | None
) -> dict[str, tuple[int, str, str]]:
    """Return what each command prints, and what it is refused with."""
    folder.mkdir()
    make_certificate(folder, "centre")
    (folder / "centre").mkdir()
    held = Port()
    sidecar = SidecarProcess(
        folder / "centre",
        sidecar=(SIDECAR if database is None else on_server(database))
        + 'role = "centre"\n',
        meterline=CENTRE.format(port=held.number) + METERLINE,
        pricing=PRICING,
        clock=BEFORE,
    )
    for name in ("march", "april"):
        (folder / f"{name}.jsonl").write_text(ROW.replace("m1", name))
    found: dict[str, tuple[int, str, str]] = {}
    with sidecar:
        asyncio.run(recorded(sidecar))
        sidecar.until_counted(17)
        until(lambda: len(sidecar.get("/v1/alerts")["alerts"]) == 2)
        sidecar.set_clock(SINCE)
        until(lambda: sidecar.get("/v1/usage")["fresh_as_of"] > SINCE[:10])
        until(lambda: _is_reported(sidecar))
        for asked in (*ASKED, *REFUSED):
            if asked == ("late", "list"):
                late(sidecar, "b", 1)
                late(sidecar, "c", 2)
            words = [
                str(folder / one) if one.endswith((".jsonl", ".toml")) else one
                for one in asked
            ]
            found[" ".join(asked)] = _called(sidecar, words)
    held.close()
    return found


def _is_reported(sidecar: SidecarProcess) -> bool:
    """Tell whether all that Stripe is to be told lies ready, a row for each customer."""
    _called(sidecar, ["report"])
    return len(sidecar.get("/v1/outbox")["rows"]) == 2


def _called(sidecar: SidecarProcess, words: list[str]) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        cli, [*words, "--json"], env={"METERLINE_CONFIG": str(sidecar.config)}
    )
    error = done.exception
    if not isinstance(error, MeterlineError | SystemExit | None):
        raise AssertionError(" ".join(words)) from error  # noqa: TRY004 - a fault
    text = done.stdout.replace(str(sidecar.folder.parent), "")
    return done.exit_code, BY_CHANCE.sub("", text), "" if error is None else str(error)


def test_every_command_prints_the_same_of_either_database(tmp_path: Path) -> None:
    database = shared_database()

    on_file = printed(tmp_path / "file", None)
    on_server = printed(tmp_path / "server", database)

    for asked, got in on_file.items():
        assert on_server[asked] == got, asked
    for words in ASKED:
        code, _, error = on_server[" ".join(words)]
        assert code == 0, (words, error)
    called = [" ".join(words) for words in ASKED + REFUSED]
    missing = [
        name
        for name in commands(cli)
        if name not in ELSEWHERE
        and not any(f"{one} ".startswith(f"{name} ") for one in called)
    ]
    assert missing == [], "call these, too"
