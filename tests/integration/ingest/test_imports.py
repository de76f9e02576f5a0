"""What is imported waits aside, and then counts once, wherever it is cut off."""

import random
from collections.abc import Sequence
from typing import Any, Final

import pytest

from meterline_sidecar.errors import DiskFull
from meterline_sidecar.ingest.external import External
from meterline_sidecar.ingest.import_chunks import ImportRefused, Line, Lines
from meterline_sidecar.ingest.imports import Imports, NoSuchImport
from meterline_sidecar.ingest.names import Name
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal, verify_journal
from meterline_sidecar.store.edge import imports as store
from meterline_sidecar.store.edge.imports import Fault, Sums
from tests.integration.conftest import Sidecar
from tests.producer import NOON_MS, event

LONG_AGO_MS: Final = NOON_MS - 900 * 86_400_000
BAD: Final = Fault(2, "refused", None, None, "time", "is missing")


def key_of(sidecar: Sidecar) -> bytes:
    return ChainFiles(sidecar.database.path).key(has_batches=True)


def imports_of(sidecar: Sidecar) -> Imports:
    """Return what takes imports, as after a start."""
    key = key_of(sidecar)
    external = External(
        sidecar.database, sidecar.ingest, clock=sidecar.clock, watch=None, key=key
    )
    return Imports(
        *(sidecar.database, external, Journal(key)),
        clock=sidecar.clock,
        key=key,
    )


def lines(imports: Imports, first: int, ids: Sequence[str], **more: Any) -> Lines:
    """Return lines with an event for each id, at a time long past."""
    prepare = imports._external.prepare  # pyright: ignore[reportPrivateUsage] - as the web does
    made = [
        Line(
            number,
            prepare(
                Name("old", name),
                event(time_ms=LONG_AGO_MS, status=more.get("status", 200)),
                is_timed=True,
            ),
        )
        for number, name in enumerate(ids, first)
    ]
    digest = f"{ids} {more}".encode()
    return Lines(first, len(ids), digest, made, more.get("faults", ()))


async def staged(imports: Imports, *chunks: Sequence[str], name: str = "march") -> None:
    await imports.begin(name, file="march.csv", author="me", reason="moved here")
    first = 1
    for ids in chunks:
        await imports.put_aside(name, lines(imports, first, ids))
        first += len(ids)
    await imports.stage(name, skip_bad=False, author="me")


async def stored(sidecar: Sidecar) -> list[tuple[str, int, int]]:
    async with sidecar.database.reading() as tx:
        return [
            (row[0], row[1], row[2])
            for row in await tx.fetch_all(
                "SELECT x.external_id, e.time_ms, e.flags & 65536 FROM events e"
                " JOIN external_events x ON x.event_id = e.id ORDER BY e.id"
            )
        ]


async def test_what_is_staged_counts_only_when_it_is_committed(
    sidecar: Sidecar,
) -> None:
    imports = imports_of(sidecar)
    await staged(imports, ["a", "b"], ["c", "a"])
    await imports.run()
    assert await stored(sidecar) == []

    await imports.commit("march", author="ann")
    await imports.run()

    assert await stored(sidecar) == [(name, LONG_AGO_MS, 0) for name in "abc"]
    found = await imports.find("march")
    assert found.row.state == "committed"
    assert found.sums == Sums(4, 4, 0, accepted=3, duplicates=1, conflicts=0)
    again = await imports.commit("march", author="ann")
    assert again.row.state == "committed"
    wrong: list[str] = []
    async with sidecar.database.reading() as tx:
        chunk = await store.next_chunk(tx, 1, after=0)
        await verify_journal(
            tx, key_of(sidecar), wrong.append, lambda what, done, total: None
        )
    assert (chunk, wrong) == (None, [])


async def test_another_event_of_an_id_is_a_conflict_that_is_named(
    sidecar: Sidecar,
) -> None:
    imports = imports_of(sidecar)
    await staged(imports, ["a"], name="first")
    await imports.commit("first", author="me")
    await imports.run()
    await imports.begin("second", file="x", author="me", reason="")
    await imports.put_aside("second", lines(imports, 1, ["b", "a"], status=500))
    await imports.stage("second", skip_bad=False, author="me")
    await imports.commit("second", author="me")

    await imports.run()

    found = await imports.find("second")
    assert found.sums == Sums(2, 2, 0, accepted=1, duplicates=0, conflicts=1)
    async with sidecar.database.reading() as tx:
        (fault,) = await store.faults_of(tx, found.row.id, limit=9)
    assert (fault.line, fault.verdict, fault.external_id) == (2, "conflict", "a")
    assert [name for name, *_ in await stored(sidecar)] == ["a", "b"]


@pytest.mark.parametrize("seed", range(6))
async def test_wherever_it_is_cut_off_everything_counts_once_and_is_told_exactly(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    ids = [f"e-{chance.randrange(12)}" for _ in range(30)]
    imports = imports_of(sidecar)
    await staged(imports, *(ids[i : i + 5] for i in range(0, 30, 5)))
    await imports.commit("march", author="me")
    real = {name: getattr(store, name) for name in ("note_accepted", "finish_chunk")}

    def cut(name: str) -> Any:
        async def maybe(*given: Any, **more: Any) -> None:
            if chance.random() < 0.4:
                raise DiskFull("cut off")
            await real[name](*given, **more)

        return maybe

    for name in real:
        monkeypatch.setattr(store, name, cut(name))
    for _ in range(200):
        await imports_of(sidecar).run()  # knows only what is on disk
        if (await imports.find("march")).row.state == "committed":
            break

    different = dict.fromkeys(ids)
    assert [name for name, *_ in await stored(sidecar)] == list(different)
    assert (await imports.find("march")).sums == Sums(
        30, 30, 0, accepted=len(different), duplicates=30 - len(different)
    )


async def test_lines_that_are_sent_again_are_known_and_others_are_refused(
    sidecar: Sidecar,
) -> None:
    imports = imports_of(sidecar)
    await imports.begin("march", file="x", author="me", reason="")
    chunk = lines(imports, 1, ["a", "b"])
    assert await imports.known("march", first_line=1, digest=chunk.digest) is None
    await imports.put_aside("march", chunk)

    known = await imports.known("march", first_line=1, digest=chunk.digest)

    assert known == Sums(2, 2, 0)
    with pytest.raises(ImportRefused, match="other lines at 1"):
        await imports.known("march", first_line=1, digest=b"other")
    with pytest.raises(ImportRefused, match="line 9 was sent where line 3 must"):
        await imports.put_aside("march", lines(imports, 9, ["c"]))
    await imports.stage("march", skip_bad=False, author="me")
    with pytest.raises(ImportRefused, match="staged with other lines"):
        await imports.put_aside("march", lines(imports, 3, ["c"]))
    with pytest.raises(ImportRefused, match="staged with other lines"):
        await imports.known("march", first_line=3, digest=b"more")
    begun = await imports.begin("march", file="x", author="me", reason="")
    assert begun.row.state == "staged"


async def test_bad_lines_are_left_out_on_purpose_only(sidecar: Sidecar) -> None:
    imports = imports_of(sidecar)
    await imports.begin("march", file="x.csv", author="me", reason="")
    await imports.put_aside("march", lines(imports, 1, ["a"], faults=[BAD]))

    with pytest.raises(ImportRefused, match=r"1 bad line in x.csv"):
        await imports.stage("march", skip_bad=False, author="me")
    with pytest.raises(ImportRefused, match="is not whole yet"):
        await imports.commit("march", author="me")
    found = await imports.stage("march", skip_bad=True, author="me")

    assert (found.row.state, found.sums.bad) == ("staged", 1)
    async with sidecar.database.reading() as tx:
        assert await store.faults_of(tx, found.row.id, limit=9) == [BAD]


async def test_a_file_without_events_is_nothing_to_import(sidecar: Sidecar) -> None:
    imports = imports_of(sidecar)
    await imports.begin("march", file="x.csv", author="me", reason="")

    with pytest.raises(ImportRefused, match=r"no event in x.csv"):
        await imports.stage("march", skip_bad=True, author="me")
    with pytest.raises(NoSuchImport, match="no import april"):
        await imports.find("april")


async def test_what_is_discarded_is_gone_and_its_name_is_free(sidecar: Sidecar) -> None:
    imports = imports_of(sidecar)
    await staged(imports, ["a"], ["b"])

    await imports.discard("march", author="ann")
    await imports.run()

    assert (await imports.discard("march", author="ann")).sums == Sums(2, 2, 0)
    async with sidecar.database.reading() as tx:
        assert await tx.fetch_one("SELECT count(*) FROM import_chunks") == (0,)
    with pytest.raises(ImportRefused, match="is discarded; it cannot be committed"):
        await imports.commit("march", author="me")
    begun = await imports.begin("march", file="x", author="me", reason="")
    assert (begun.row.state, begun.sums.lines) == ("loading", 0)
    await staged(imports, ["c"])
    await imports.commit("march", author="me")
    with pytest.raises(ImportRefused, match="is committing; it cannot be discarded"):
        await imports.discard("march", author="me")


@pytest.mark.parametrize(
    ("done", "why"),
    [
        (
            "UPDATE import_chunks SET content = x'90' WHERE first_line = 2",
            "has been changed",
        ),
        (
            "UPDATE import_chunks SET import_id = 2 WHERE first_line = 2",
            "have disappeared",
        ),
    ],
)
async def test_what_was_changed_since_it_was_put_aside_is_not_counted(
    sidecar: Sidecar, done: str, why: str
) -> None:
    imports = imports_of(sidecar)
    await staged(imports, ["a"], ["b"])
    async with sidecar.database.transaction() as tx:
        await tx.execute(done)
    await imports.commit("march", author="me")

    with pytest.raises(ImportRefused, match=why):
        await imports.run()

    assert [name for name, *_ in await stored(sidecar)] == ["a"]
    assert imports.trouble is not None
    assert (await imports.find("march")).row.state == "committing"
