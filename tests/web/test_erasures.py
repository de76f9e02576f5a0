"""A person's name is taken out of the ledger; sums, invoices and both chains stay."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meterline_sidecar.errors import ArchiveFailed
from meterline_sidecar.files import LedgerFiles
from meterline_sidecar.ledger.archived import LINES, PARQUET, Archived, Form, form_of
from meterline_sidecar.ledger.bundle_lines import encode_line, lines_of
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.copies import Backup, note
from meterline_sidecar.ledger.erase_begin import Wanted
from meterline_sidecar.ledger.erase_texts import STAYS, TEXTS
from meterline_sidecar.ledger.report import Report
from meterline_sidecar.ledger.verify import verify
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.port import Tx
from tests.plans import starter_each
from tests.producer import NOON_MS, Connection, batch, event
from tests.sidecar_process import METERLINE, SidecarProcess
from tests.web.again import computed_again
from tests.web.conftest import OpenWeb, Web, form
from tests.web.external import plain
from tests.web.test_corrections import correct
from tests.web.test_credits import finalize

DECEMBER_MS = 1_796_083_200_000
NAME = "acme_jane.doe@example.org"
MAIL = "jane@example.net"
PHONE = "+49 30 1234567"
KILLS_MAX = 50
USUAL_FORM = "meterline_sidecar.daemon.assemble_archive.usual_form"
ARCHIVED = """
[billing]
close = "by_hand"

[retention]
events = "31 days"

[archive]
url = "archive"
"""
BODY = {"subject": NAME, "reason": "request 7"}
WORDS = frozenset(
    [
        "amount",
        "anchor",
        "billed",
        "currency",
        "decision",
        "ends",
        "entry",
        "error",
        "expires",
        "kind",
        "method",
        "mode",
        "now",
        "paid_on",
        "period",
        "rule",
        "series",
        "source",
        "starts",
        "state",
        "step",
        "totals",
        "type",
        "verdict",
    ]
)
"""Columns that hold words of Meterline, amounts and days."""
OF_OURS = {
    "facts",
    "generations",
    "archive_moves",
    "day_parts",
    "edge_files",
    "erasing_files",
    "outbox_cursor",
    "packed_days",
    "usage",
    "usage_days",
}
"""Tables of which no text comes from anybody else."""
IDS = {
    ("edge_producers", "producer"),
    ("edge_covers", "epoch"),
    ("edge_covers", "generation"),
    ("edge_covers", "producer"),
    ("edge_questions", "question"),
    ("edges", "edge"),
    ("edges", "forwards"),
    ("edges", "program"),
    ("epochs", "producer"),
    ("erasures", "alias"),
    ("losses", "reason"),
    ("outbox", "batch_key"),
    ("outbox", "event_name"),
    ("outbox", "identifier"),
    ("outbox", "meter"),
    ("outbox", "reason"),
    ("outbox", "request_id"),
    ("outbox", "stripe_customer"),
    ("outbox_hours", "customer"),
    ("owners", "customer"),
    ("producers", "producer"),
    ("producers", "spool"),
    ("property_values", "name"),
    ("reconciliations", "event_name"),
    ("reconciliations", "stripe_customer"),
    ("reconciliations", "theirs"),
    ("roll_ups", "definition"),
    ("roll_ups", "generation"),
    ("rolled_up_before", "producer"),
    ("rolls", "generation"),
    ("stripe_calls", "object_id"),
    ("stripe_events", "id"),
    ("subjects", "customer"),
    ("unique_values", "meter"),
}
"""Ids of customers, meters and workers, and what Stripe called something."""


async def erase(web: Web, status: int = 200, **more: Any) -> Any:
    answer = await web.http.post("/v1/erasures", json=BODY | more)
    assert answer.status_code == status, answer.text
    return answer.json() if status == 200 else answer.json()["detail"]


async def ship(socket: Path, *payloads: Any) -> None:
    async with Connection(socket) as app:
        await app.hello()
        await app.ship(batch(*payloads))


async def verified(web: Web, *, archived: Archived | None = None) -> Report:
    path = web.parts.config.sidecar.database
    chain = ChainFiles(path)
    return await verify(
        web.parts.database,
        key=chain.key(has_batches=True),
        head=chain.head(),
        progress=lambda what, done, total: None,
        archived=archived,
    )


async def filled(web: Web) -> None:
    """Store events of two people, late ones, refused ones, and ones that have names."""
    await web.ship(event(subject=NAME), event(subject="acme_other"))
    await web.ship(event(subject="acme_other"), event(subject=None))
    await web.ship(event(subject=NAME), event(subject=NAME, time_ms=1))
    await web.ship(event(), [1, "not an event", NAME])  # type: ignore[arg-type]
    said = await web.http.post(
        "/v1/events",
        json={
            "specversion": "1.0",
            "type": "use",
            "source": "crm",
            "id": f"1-{NAME}",
            "subject": NAME,
            "time": "2026-11-06T12:00:00Z",
            "data": {"quantities": {"tokens": 3}},
        },
        headers={"content-type": "application/cloudevents+json"},
    )
    assert said.status_code in {200, 202}, said.text
    await web.parts.aggregator.run()


def bytes_of(web: Web) -> dict[str, bytes]:
    """Return every file of the ledger, and of spools."""
    files = LedgerFiles(web.parts.config.sidecar.database)
    spool = web.parts.config.sidecar.spool_dir
    found = [*files.kept, *(path for path in spool.rglob("*") if path.is_file())]
    return {str(path): path.read_bytes() for path in found if path.exists()}


async def test_not_one_byte_of_a_name_is_left_and_all_sums_stay(
    open_web: OpenWeb,
) -> None:
    async with open_web(pricing=starter_each("0.50")) as web:
        await filled(web)
        web.clock.time_ms = DECEMBER_MS + 1
        await web.http.post(
            "/v1/customers/acme/invoice/finalize", params={"period": "2026-11"}
        )
        invoice = await web.get("/v1/customers/acme/invoice", period="2026-11")
        usage = await web.get("/v1/usage", customer="acme", period="2026-11")
        assert any(NAME.encode() in content for content in bytes_of(web).values())

        told = await erase(web, dry_run=True)
        assert (told["is_dry_run"], told["events"]) == (True, 4)
        done = await erase(web)

        alias = done["erasure"]["alias"]
        assert alias.startswith("acme_erased-")
        assert (done["events"], done["remains"]) == (4, 0)
        for path, content in bytes_of(web).items():
            assert NAME.encode() not in content, path
        assert (await verified(web)).findings == []
        assert (await computed_again(web)).findings == []
        assert invoice == await web.get("/v1/customers/acme/invoice", period="2026-11")
        assert usage == await web.get("/v1/usage", customer="acme", period="2026-11")
        events = await web.get("/v1/events", subject=alias, period="2026-11")
        assert len(events["events"]) == 3


async def test_what_comes_later_is_stored_under_the_name_again(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await filled(web)
        first = await erase(web)
        await web.ship(event(subject=NAME), event(subject="acme_other"))

        assert (await verified(web)).findings == []
        second = await erase(web)

        assert second["erasure"]["alias"] != first["erasure"]["alias"]
        assert second["erasure"]["digest"] == first["erasure"]["digest"]
        assert (second["events"], second["remains"]) == (1, 0)
        assert (await verified(web)).findings == []
        page = await web.get("/v1/erasures")
        assert [one["erasure"] for one in page["erasures"]] == [2, 1]
        acts = (await web.get("/v1/audit"))["acts"]
        assert [act["author"] for act in acts if "erased" in act["what"]] == [
            "local",
            "local",
        ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE subjects SET name = 'acme_jane' WHERE name LIKE '%erased%'",
        "UPDATE events SET status = 500 WHERE id = 1",
        "UPDATE events SET subject_id = 3 - subject_id WHERE id = 1",
        "DELETE FROM erasure_seals WHERE row_id = 1",
        "UPDATE erasure_seals SET seal = zeroblob(32) WHERE row_id = 1",
        "UPDATE erasure_seals SET erasure_id = 9 WHERE row_id = 1",
        "INSERT INTO erasure_seals SELECT 'batches', 2, 1, seal FROM erasure_seals"
        " WHERE row_id = 1",
        "INSERT INTO erasure_seals VALUES ('terms', 99, 1, zeroblob(32))",
        "UPDATE erasures SET author = 'somebody'",
        "DELETE FROM erasures",
        "UPDATE batches SET learned_ms = 0 WHERE id = 1",
    ],
)
async def test_nothing_but_the_name_may_differ(
    open_web: OpenWeb, statement: str
) -> None:
    async with open_web() as web:
        await filled(web)
        await erase(web)
        connection = sqlite3.connect(web.parts.config.sidecar.database)
        with connection:
            assert connection.execute(statement).rowcount > 0
        connection.close()

        assert (await verified(web)).findings != []


async def test_whatever_is_interrupted_goes_on_and_is_sound_all_the_time(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("meterline_sidecar.ledger.erase_step.BATCHES_PER_STEP", 1)
    put_seals = store.put_seals
    left = 0

    async def killed(*args: Any) -> None:
        nonlocal left
        await put_seals(*args)
        left -= 1
        if left == 0:
            raise Killed

    monkeypatch.setattr(store, "put_seals", killed)
    async with open_web() as web:
        await filled(web)
        for steps in (1, 2, 3, 4):
            left = steps
            with pytest.raises(Killed):
                await web.parts.eraser.erase(Wanted(NAME, (), "a", "b"))
            report = await verified(web)
            assert report.findings == [], steps
            await web.ship(event(subject=NAME))
        left = 0

        other = await erase(web, 409, subject="acme_other")
        assert "another erasure is under way" in other
        assert await web.parts.eraser.resume() == 1
        assert await web.parts.eraser.resume() == 0
        for path, content in bytes_of(web).items():
            assert NAME.encode() not in content, path

        assert (await verified(web)).findings == []
        (done,) = (await web.get("/v1/erasures"))["erasures"]
        assert (done["events"], done["author"], done["reason"]) == (8, "a", "b")


@pytest.mark.parametrize(
    ("subject", "said"),
    [
        ("acme_*", "is a pattern"),
        ("acct_1", "customer acme claims this subject by its name"),
        ("acme_nobody", "no event in the ledger is of such a subject"),
    ],
)
async def test_what_cannot_be_erased_is_refused_with_what_to_do(
    open_web: OpenWeb, subject: str, said: str
) -> None:
    async with open_web() as web:
        await filled(web)
        assert said in await erase(web, 409, subject=subject)
        assert said in await erase(web, 409, subject=subject, dry_run=True)
        assert "must not hold the name" in await erase(web, 400, reason=f"for {NAME}")


async def test_texts_lose_the_name_and_what_stays_is_told(
    open_web: OpenWeb,
) -> None:
    by_property = (
        METERLINE
        + """
[[meter]]
name = "by_for"
aggregation = "count"
group_by = ["told"]
"""
    )
    async with open_web(meterline=by_property, pricing=starter_each("0.50")) as web:
        of_other = {"for": f"<{NAME}>", "mail": "jane@example.org", "told": "x"}
        await web.ship(
            event(subject=NAME),
            event(subject="acme_other", properties=of_other),
            event(subject="acme_other", properties={"for": "jane", "told": NAME}),
        )
        await correct(web, subject=NAME, period="2026-11")
        web.clock.time_ms = DECEMBER_MS + 1
        await finalize(web, "2026-11")
        paid = await web.http.post(
            "/v1/invoices/INV-0001/payments",
            json={"amount": "0.50", "reference": f"of {NAME}, jane@example.org"},
        )
        assert paid.status_code == 200, paid.text
        also = ["jane@example.org"]

        would = await erase(web, also=also, dry_run=True)
        done = await erase(web, also=also)

        before = {one["table"]: one["rows"] for one in would["mentions"]}
        texts = {"corrections": 1, "events": 2, "payments": 1}
        stays = {"groups": 1, "invoices": 1, "property_values": 1}
        assert before == texts | stays
        assert done["texts"] == {"corrections": 1, "payments": 1}
        after = {one["table"]: one["shown_by"] for one in done["mentions"]}
        assert after == {
            "events": "meterline events",
            "groups": "meterline usage",
            "invoices": "meterline invoice",
            "property_values": "meterline usage",
        }
        assert (await verified(web)).findings == []
        assert (await computed_again(web)).findings == []
        found = await web.get("/v1/events", subject="acme_other", period="2026-11")
        said = [one["properties"] for one in found["events"]]
        assert {"for": "jane", "told": NAME} in said
        assert not any("jane@example.org" in str(one) for one in said)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("jane", "too short"),
        ("acme_other", "is a subject itself"),
        ("erased-", "stands in every alias"),
    ],
)
async def test_a_word_that_may_mean_something_else_is_refused(
    open_web: OpenWeb, word: str, said: str
) -> None:
    async with open_web() as web:
        await filled(web)
        assert said in await erase(web, 409, also=[word])
        assert said in await erase(web, 409, also=[word], dry_run=True)
        assert await web.get("/v1/erasures") == {"erasures": [], "next_before": None}


async def test_a_name_in_lines_that_wait_aside_is_decided_about_first(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await filled(web)
        body = {"name": "march", "file": "march.jsonl", "reason": "moved here"}
        assert (await web.http.post("/v1/imports", json=body)).status_code == 200
        put = await web.http.put(
            "/v1/imports/march/lines",
            params={"first_line": 1, "source": "old"},
            content=msgspec.json.encode(plain(1, subject=NAME)),
        )
        assert put.status_code == 200, put.text

        assert "meterline import discard march" in await erase(web, 409, dry_run=True)
        assert "meterline import discard march" in await erase(web, 409)
        thrown = await web.http.post("/v1/imports/march/discard")
        assert thrown.status_code == 200, thrown.text
        await web.parts.imports.run()

        assert (await erase(web))["remains"] == 0


async def test_no_text_of_a_table_is_forgotten(open_web: OpenWeb) -> None:
    async with open_web() as web:
        connection = sqlite3.connect(web.parts.config.sidecar.database)
        texts = {
            (table, column)
            for table, column in connection.execute(
                "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c"
                " WHERE t.type = 'table' AND c.type = 'TEXT'"
            )
        }
        connection.close()

    known = {
        (table, one) for table, columns in store.MENTIONS.items() for one in columns
    }
    assert known - {("import_chunks", "content")} <= texts
    assert STAYS.keys() == store.MENTIONS.keys()
    replaced = {(table, one) for table, columns in TEXTS.items() for one in columns}
    assert replaced <= known
    forgotten = {
        (table, column)
        for table, column in texts - known
        if table not in OF_OURS and column not in WORDS
    }
    assert forgotten == IDS


async def test_a_name_that_was_claimed_goes_out_of_the_terms_too(
    open_web: OpenWeb,
) -> None:
    async with open_web(meterline=METERLINE) as web:
        path = "/v1/customers/payer"
        for subjects in (["jane"], []):
            answer = await web.http.put(
                path, json={"subjects": subjects, "plan": "starter"}
            )
            assert answer.status_code == 200, answer.text
            await web.ship(event(subject="jane", time_ms=NOON_MS + len(subjects)))
            web.clock.time_ms += 1000
        before = await web.get("/v1/usage", customer="payer")

        done = await erase(web, subject="jane")

        assert before == await web.get("/v1/usage", customer="payer")
        assert done["erasure"]["alias"].startswith("erased-")
        assert (done["mentions"], done["remains"]) == ([], 0)
        assert (await verified(web)).findings == []
        connection = sqlite3.connect(web.parts.config.sidecar.database)
        changes = [row[0] for row in connection.execute("SELECT change FROM terms")]
        connection.close()
        assert not any("jane" in change for change in changes)


class Killed(BaseException):
    """The process ends here."""


class Killing:
    """Ends an erasure behind each write that lasts, one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, web: Web) -> None:
        self.left = 0
        """Writes up to the one behind which it ends; 0 for none."""
        shelf = web.parts.archive.archived.shelf
        assert shelf is not None
        for name in ("put", "delete"):
            monkeypatch.setattr(shelf, name, self._then_killed(getattr(shelf, name)))
        monkeypatch.setattr(web.parts.eraser, "_database", self)
        self._database = web.parts.database

    def _then_killed(self, write: Callable[..., Awaitable[None]]) -> Any:
        async def killed(*args: Any) -> None:
            await write(*args)
            self._end()

        return killed

    def _end(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Tx]:
        async with self._database.transaction() as tx:
            yield tx
        self._end()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)


@asynccontextmanager
async def with_archive(open_web: OpenWeb, tmp_path: Path) -> AsyncGenerator[Web]:
    """Open a ledger of which two files left, and one of them came back."""
    (tmp_path / "archive").mkdir()
    async with open_web(meterline=METERLINE + ARCHIVED) as web:
        await filled(web)
        web.clock.time_ms += 86_400_000
        await web.ship(event(subject="acme_other", properties={"for": f"to {NAME}"}))
        web.clock.time_ms += 86_400_000
        await web.ship(event(subject=NAME), event())
        web.clock.time_ms = DECEMBER_MS + 40 * 86_400_000
        await web.ship(event(time_ms=web.clock.time_ms))
        rejected = await web.http.post(
            "/v1/held/reject", params={"all": True, "reason": "too old"}
        )
        assert rejected.status_code == 200, rejected.text
        for period in ("2026-11", "2026-12"):
            closed = await web.http.post(
                "/v1/customers/acme/invoice/finalize", params={"period": period}
            )
            assert closed.status_code == 200, closed.text
        moved = [await web.parts.archive.step(by_hand=True) for _ in range(3)]
        assert all(step.moved for step in moved), moved
        assert moved[-1].moved is not None
        await web.parts.archive.bring_back(moved[-1].moved.file)
        yield web


def in_archive(folder: Path) -> bytes:
    """Return what stands in all files of an archive, as far as anybody can read it."""
    found = b""
    for path in folder.iterdir():
        content = path.read_bytes()
        bundle = form_of(path.name.removesuffix(".new")).decode(content)
        found += content + b"".join(map(encode_line, lines_of(bundle)))
    return found


@pytest.mark.parametrize("form", [LINES, PARQUET])
async def test_files_of_the_archive_are_written_anew_wherever_it_is_killed(
    open_web: OpenWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.setattr(USUAL_FORM, lambda: form)
    async with with_archive(open_web, tmp_path) as web:
        archive = web.parts.archive.archived
        before = sorted(path.name for path in (tmp_path / "archive").iterdir())
        assert NAME.encode() in in_archive(tmp_path / "archive")
        would = await erase(web, dry_run=True)
        assert (would["events"], sorted(would["archive_files"])) == (5, before)
        killing = Killing(monkeypatch, web)
        wanted = Wanted(NAME, (), "ann", "request 7")

        kills = 0
        while kills < KILLS_MAX:
            # Behind the first write, and then behind the one that follows on it.
            killing.left = 1 + kills % 2
            try:
                await web.parts.eraser.erase(wanted)
            except Killed:
                kills += 1
            else:
                break
            report = await verified(web, archived=archive)
            assert report.findings == [], kills
            with suppress(ArchiveFailed):
                moved = await web.parts.archive.step(by_hand=True)
                assert moved.moved is None
                assert "being erased" in str(moved.waits)

        killing.left = 0
        assert 3 * 3 <= kills < KILLS_MAX
        (done,) = (await web.get("/v1/erasures"))["erasures"]
        assert done["events"] == 5
        assert await web.parts.eraser.remains(wanted) == 0
        assert NAME.encode() not in in_archive(tmp_path / "archive")
        after = sorted(path.name for path in (tmp_path / "archive").iterdir())
        assert (len(after), set(after) & set(before)) == (3, set())
        again = await web.parts.archive.step(by_hand=True)
        assert again.moved is not None
        report = await verified(web, archived=archive)
        assert (report.findings, report.archive_files) == ([], 3)
        read = archive.events_after
        assert (await computed_again(web, read_events=read)).findings == []
        for _ in range(3):
            file = (await web.get("/v1/archive"))["page"][-1]["file"]
            await web.parts.archive.bring_back(file)
        assert (await verified(web)).findings == []


async def test_a_file_that_cannot_be_reached_keeps_an_erasure_open(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with with_archive(open_web, tmp_path) as web:
        (tmp_path / "archive").rename(tmp_path / "away")
        would = await erase(web, dry_run=True)
        said = await erase(web, 409)
        assert "events-000000000001-" in said
        assert len(would["archive_unread"]) == 3
        with pytest.raises(ArchiveFailed):
            await web.parts.eraser.resume()
        (tmp_path / "away").rename(tmp_path / "archive")

        assert await web.parts.eraser.resume() == 1

        archive = web.parts.archive.archived
        assert (await verified(web, archived=archive)).findings == []
        assert NAME.encode() not in in_archive(tmp_path / "archive")


async def test_a_backup_that_is_put_back_does_not_bring_the_name_back(
    open_web: OpenWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(USUAL_FORM, lambda: LINES)
    async with with_archive(open_web, tmp_path) as web:
        path = web.parts.config.sidecar.database
        await web.parts.database.copy_to(tmp_path / "backup.db")
        note(path, backup_of(tmp_path / "backup.db"))
        first = await erase(web)
        second = await erase(web, subject="acme_other")
        copies = {Path(one["file"]).name for one in second["backups"]}
        assert copies == {"backup.db"}
        before = await web.get("/v1/usage", customer="acme", period="2026-11")
    for name in ("meterline.db-wal", "meterline.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.move(tmp_path / "backup.db", path)

    async with open_web(meterline=METERLINE + ARCHIVED) as web:
        await web.parts.eraser.resume()

        aliases = [one["alias"] for one in (await web.get("/v1/erasures"))["erasures"]]
        assert aliases == [second["erasure"]["alias"], first["erasure"]["alias"]]
        archive = web.parts.archive.archived
        report = await verified(web, archived=archive)
        assert (report.findings, report.archive_files) == ([], 2)
        assert NAME.encode() not in in_archive(tmp_path / "archive")
        assert before == await web.get("/v1/usage", customer="acme", period="2026-11")
        wanted = Wanted(NAME, (), "ann", "request 7")
        assert await web.parts.eraser.remains(wanted) == 0
        await web.ship(event(subject=NAME))
        assert await web.parts.eraser.resume() == 0


async def test_other_words_are_named_again_where_a_ledger_is_put_back(
    open_web: OpenWeb, tmp_path: Path
) -> None:
    async with open_web() as web:
        path = web.parts.config.sidecar.database
        await filled(web)
        await correct(web, events=[1], reason=f"asked {MAIL}, at {PHONE}")
        await web.parts.database.copy_to(tmp_path / "backup.db")
        first = await erase(web, also=[MAIL, PHONE])
    for name in ("meterline.db-wal", "meterline.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "backup.db", path)

    async with open_web() as web:
        assert await web.parts.eraser.resume() == 1
        alias = first["erasure"]["alias"]
        (problem,) = await missing(web)
        assert "2 words may" in problem
        assert alias in problem

        some = await erase(web, subject=alias, also=[MAIL])
        assert await web.parts.eraser.remains(Wanted(MAIL, (), "ann", "")) == 0
        assert "1 word may" in (await missing(web))[0]
    async with open_web() as web:  # a start does not forget it
        await web.parts.eraser.resume()
        last = some["erasure"]["alias"]
        assert last in (await missing(web))[0]

        await erase(web, subject=last, reason="nobody knows the other one")
        assert await missing(web) == []
        reasons = await web.get("/v1/corrections")
    lines = path.with_name("meterline.db.erased").read_text()
    assert MAIL not in lines + str(reasons)
    assert PHONE not in lines
    # Once more, all of that is done again, and all of them are asked for.
    shutil.copy(tmp_path / "backup.db", path)
    async with open_web() as web:
        assert await web.parts.eraser.resume() == 3
        assert "2 words may" in (await missing(web))[0]
        assert (await verified(web)).findings == []


async def missing(web: Web) -> list[str]:
    problems = (await web.get("/status"))["problems"]
    return [p["text"] for p in problems if p["code"] == "erased_words_missing"]


def backup_of(path: Path) -> Backup:
    return Backup(
        finished_ms=NOON_MS,
        file=str(path),
        file_bytes=1,
        digest="",
        batches=1,
        events=1,
    )


async def test_what_a_worker_has_not_sent_yet_is_waited_for(
    open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_web() as web:
        await filled(web)
        spool = web.parts.config.sidecar.spool_dir / ("a" * 32)
        spool.mkdir(parents=True)
        part = spool / "1.seg"
        part.write_bytes(b"..." + NAME.encode())
        looked = web.parts.eraser.spools

        async def sent_then(wanted: Wanted) -> tuple[str, ...]:
            found = await looked(wanted)
            if part.exists():
                await web.ship(event(subject=NAME))
                part.unlink()
            return found

        monkeypatch.setattr(web.parts.eraser, "spools", sent_then)
        done = await erase(web)
        assert (done["events"], done["spools"], done["is_back"]) == (5, [], False)

        monkeypatch.setattr(web.parts.eraser, "spools", looked)
        monkeypatch.setattr("meterline_sidecar.ledger.erase.SPOOLS_LOOKS", 0)
        await web.ship(event(subject=NAME))
        part.write_bytes(b"..." + NAME.encode())
        done = await erase(web)
        assert done["spools"] == [str(part)]
        await web.ship(event(subject=NAME))
        part.unlink()


def test_the_command_asks_for_the_name_and_says_what_is_left(tmp_path: Path) -> None:
    with SidecarProcess(tmp_path, clock="2026-11-06T12:00:05Z") as sidecar:
        asyncio.run(ship(sidecar.socket, event(subject=NAME)))
        sidecar.until_counted(1)
        reason = ("--reason", "request 7")
        would = sidecar.meterline("erase", NAME, *reason, "--dry-run")
        unsure = sidecar.meterline("erase", NAME, *reason)
        done = sidecar.meterline("erase", NAME, *reason, "--yes")
        again = sidecar.meterline("erase", NAME, *reason, "--yes", "--json")
        sound = sidecar.meterline("verify")

    assert "1 event would get an alias" in would.stdout
    assert unsure.returncode != 0
    assert (
        "the name is erased (erasure 1): 1 event, and all sums, are of acme_erased-"
        in done.stdout
    )
    assert "other copies from before hold the name" in done.stdout
    assert again.returncode == 1
    assert "no event in the ledger is of such a subject" in again.stderr
    assert sound.returncode == 0, sound.stdout


async def test_a_changed_row_of_the_journal_is_not_hidden_either(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await filled(web)
        body = {"amount": "5", "currency": "usd", "reason": f"sorry, {NAME}"}
        said = await web.http.post("/v1/customers/acme/credits", json=body)
        assert said.status_code == 200, said.text
        path = web.parts.config.sidecar.database
        change(path, "UPDATE credits SET title = title || '!'")

        assert "row 1 of credits is not what was written" in await erase(web, 409)
        change(path, "UPDATE credits SET title = rtrim(title, '!')")
        assert await web.parts.eraser.resume() == 1

        assert (await verified(web)).findings == []
        change(path, "UPDATE credits SET reason = 'sorry'")
        assert (await verified(web)).findings != []


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(statement).rowcount > 0
    connection.close()


async def test_a_changed_batch_is_not_hidden_by_an_erasure(open_web: OpenWeb) -> None:
    async with open_web() as web:
        await filled(web)
        connection = sqlite3.connect(web.parts.config.sidecar.database)
        with connection:
            connection.execute("UPDATE events SET status = 500 WHERE id = 2")
        connection.close()

        assert "batch 1 is not what was committed" in await erase(web, 409)


async def test_a_name_is_erased_on_a_page_once_it_is_typed_twice(
    open_web: OpenWeb,
) -> None:
    async with open_web() as web:
        await web.ship(event(subject="jane"), event(subject="jane"))
        typed = {"subject": "jane", "reason": "she asked", "do": "look"}
        erasing = {**typed, "do": "erase"}

        looked = await web.http.post("/erasures", data=form(**typed))
        wrong = await web.http.post("/erasures", data=form(**erasing, again="june"))

        assert "2 events, and all sums, would be" in looked.text
        assert (wrong.status_code, "is another; nothing was erased" in wrong.text) == (
            400,
            True,
        )
        assert "No name has been erased" in (await web.http.get("/erasures")).text
        named = {**typed, "reason": "jane asked"}
        assert (await web.http.post("/erasures", data=form(**named))).status_code == 400
        done = await web.http.post("/erasures", data=form(**erasing, again="jane"))
        assert done.status_code == 200
        assert "2 events, and all sums, are of erased-" in done.text
        html = (await web.http.get("/erasures")).text
        assert ("she asked, by local" in html, "jane" in html) == (True, False)
        gone = await web.http.post("/erasures", data=form(**typed))
        assert gone.status_code == 409
