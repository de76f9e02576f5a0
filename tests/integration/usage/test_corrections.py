"""What corrections do to usage, beside a ledger that never got what was corrected."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterline.events import UNCOUNTED
from meterline.usage_event import UsageEvent
from meterline_sidecar.clock import HOUR_MS
from meterline_sidecar.errors import BeingCorrected
from meterline_sidecar.ingest import correction_plans as plans
from meterline_sidecar.ingest.amended import Changes
from meterline_sidecar.ingest.correction_plans import (
    CorrectionRefused,
    NoSuchCorrection,
    Search,
)
from meterline_sidecar.ingest.corrections import Asked, Corrections
from meterline_sidecar.ledger import packing
from meterline_sidecar.ledger.archived import Archived
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.ledger.journal import Journal
from meterline_sidecar.ledger.packing import Packer
from meterline_sidecar.ledger.shelf import DirectoryShelf
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.edge import corrections as store
from meterline_sidecar.store.edge import event_log
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.event_log import Filter
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.terms import NEVER_MS
from meterline_sidecar.store.usage import newest_generation
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.usage import aggregate, correction, step
from meterline_sidecar.usage import counted as usage_counted
from meterline_sidecar.usage.aggregate import Aggregator
from meterline_sidecar.usage.corrected import Recounting, recount
from meterline_sidecar.usage.counted import (
    Counted,
    counted,
    counted_whole,
    read_counted,
    snapshot,
)
from meterline_sidecar.usage.definition import decode
from meterline_sidecar.usage.fold import Folder
from meterline_sidecar.usage.in_bulk import BulkFolder
from meterline_sidecar.usage.misfits import add_misfits
from meterline_sidecar.usage.values import Values, read_values
from tests.agreed import agree_to, claim, keep, terms_of
from tests.integration.conftest import Sidecar, sidecar_at
from tests.integration.ledger.test_verify import verified
from tests.producer import NOON_MS, WITH_PROPERTIES, Connection, batch, event

METERS = (
    Meter("calls", "count"),
    Meter("out", "sum", value="bytes_out"),
    Meter("top", "max", value="bytes_out"),
    Meter("low", "min", value="bytes_out"),
    Meter("users", "unique", value="subject"),
    Meter("routes", "unique", value="route"),
    Meter("seats", "latest", value="quantities.seats"),
    Meter("by_route", "count", group_by=("route",)),
    Meter("by_model", "sum", value="quantities.seats", group_by=("model",)),
)
WHY = Asked("ann", "a test")
WHO = ("acct_1", "acct_2", "stranger")
NEW = Meter("new", "count")


def some_events(n_events: int, *, seed: int) -> list[UsageEvent]:
    dice = random.Random(seed)
    return [
        event(
            time_ms=NOON_MS + dice.randrange(-7_200_000, 0),
            subject=dice.choice(WHO),
            route=dice.choice(["/a", "/b", None]),
            bytes_out=dice.randrange(1_000),
            quantities={"seats": dice.randrange(9)} if dice.random() < 0.5 else None,
            properties={"model": dice.choice("xyz")} if dice.random() < 0.5 else None,
        )
        for _ in range(n_events)
    ]


@dataclass
class Corrected:
    """A ledger with some events, and what corrects them."""

    sidecar: Sidecar
    terms: Terms
    aggregator: Aggregator
    corrections: Corrections
    key: bytes

    @classmethod
    async def of(
        cls,
        sidecar: Sidecar,
        events: Iterable[UsageEvent],
        *,
        folder: Path | None = None,
    ) -> "Corrected":
        """Return one that counts these; ``folder`` is for events that leave it."""
        database, clock = sidecar.database, sidecar.clock
        terms = claim(terms_of(*METERS), "acme", "acct_*")
        key = ChainFiles(database.path).key(has_batches=False)
        await keep(database, terms, key=key)
        shelf = None if folder is None else DirectoryShelf(folder)
        aggregator = Aggregator(
            database, terms, clock=clock, read_events=Archived(shelf, key).events_after
        )
        await aggregator.start()
        async with Connection(sidecar.socket) as app:
            await app.hello()
            await app.ship(batch(*events))
        await aggregator.run()
        corrections = Corrections(
            *(database, sidecar.ingest, Journal(key), aggregator), clock=clock
        )
        return cls(sidecar, terms, aggregator, corrections, key)

    async def void(self, *event_ids: int) -> int:
        plan = await plans.void(self.sidecar.database, Search(event_ids))
        return (await self.corrections.make(plan, WHY)).id

    async def revert(self, correction_id: int) -> int:
        plan = await plans.revert(self.sidecar.database, correction_id)
        return (await self.corrections.make(plan, WHY)).id

    async def usage(self) -> object:
        async with self.sidecar.database.reading() as tx:
            return await usage_in(tx)

    async def sound(self) -> list[str]:
        return (await verified(self.sidecar.database.path)).findings


async def usage_in(tx: Tx) -> object:
    """Return everything that is counted, as it is read: rows of nothing are none."""
    generation = (await counted(tx)).generation
    found: list[object] = []
    for table, columns in (
        ("usage", "subject_id, window_ms"),
        ("usage_days", "subject_id, day_ms"),
        ("usage_totals", "step_ms, start_ms"),
    ):
        rows = await tx.fetch_all(
            f"SELECT {columns}, g.labels, totals FROM {table} u"
            " JOIN groups g ON g.id = u.group_id WHERE generation = ?"
            f" AND totals <> '{{}}' ORDER BY {columns}, g.labels",
            (generation,),
        )
        found.append([(*key, json.loads(totals)) for *key, totals in rows])
    found.append(
        await tx.fetch_all(
            "SELECT subject_id, window_ms, g.labels, meter, value FROM unique_values u"
            " JOIN groups g ON g.id = u.group_id WHERE generation = ? ORDER BY 1,2,3,4,5",
            (generation,),
        )
    )
    return found


async def expected(ledger: Corrected, void: set[int]) -> dict[tuple[Any, ...], Any]:
    """Return the windows of a ledger that never got some events, from the others."""
    async with ledger.sidecar.database.reading() as tx:
        served = await newest_generation(tx)
        assert served is not None
        definition = decode(served.definition)
        events, _ = await counting.events_after(
            tx, 0, skip_flags=UNCOUNTED, limit=10_000
        )
        folder = Folder(
            definition,
            await counting.endpoints(tx),
            await counting.cuts_between(tx, 0, NEVER_MS),
            values=await read_values(tx, definition),
        )
    deltas = folder.fold(event for event in events if event.id not in void)
    return {
        tuple(place): (delta.totals, delta.unique) for place, delta in deltas.items()
    }


async def windows(ledger: Corrected) -> dict[tuple[Any, ...], Any]:
    """Return the windows that are stored, but for those in which nothing is."""
    async with ledger.sidecar.database.reading() as tx:
        generation = (await counted(tx)).generation
        rows = await tx.fetch_all(
            "SELECT subject_id, window_ms, g.labels, totals FROM usage u"
            " JOIN groups g ON g.id = u.group_id WHERE generation = ?",
            (generation,),
        )
        values = await tx.fetch_all(
            "SELECT subject_id, window_ms, g.labels, meter, value FROM unique_values u"
            " JOIN groups g ON g.id = u.group_id WHERE generation = ?",
            (generation,),
        )
    unique: dict[tuple[Any, ...], dict[str, set[str]]] = {}
    for *place, meter, value in values:
        unique.setdefault(tuple(place), {}).setdefault(meter, set()).add(value)
    found = {
        tuple(place): (json.loads(totals), unique.get(tuple(place), {}))
        for *place, totals in rows
    }
    return {place: used for place, used in found.items() if any(used)}


@settings(max_examples=4, deadline=None)
@given(
    st.integers(0, 1_000),
    st.lists(st.tuples(st.booleans(), st.sets(st.integers(1, 40))), max_size=5),
)
def test_void_events_leave_usage_as_if_they_had_never_come(
    seed: int, steps: list[tuple[bool, set[int]]]
) -> None:
    async def play(folder: Path) -> None:
        async with sidecar_at(folder) as sidecar:
            ledger = await Corrected.of(sidecar, some_events(40, seed=seed))
            before = await ledger.usage()
            made: dict[int, set[int]] = {}
            for is_revert, ids in steps:
                void = {one for ids in made.values() for one in ids}
                if is_revert and made:
                    correction = max(made)
                    await ledger.revert(correction)
                    del made[correction]
                elif ids - void:
                    made[await ledger.void(*ids - void)] = ids - void
                void = {one for ids in made.values() for one in ids}
                assert await windows(ledger) == await expected(ledger, void)
            assert await ledger.sound() == []
            for correction in sorted(made, reverse=True):
                await ledger.revert(correction)
            assert await ledger.usage() == before

    with TemporaryDirectory() as name:
        asyncio.run(play(Path(name)))


async def test_a_search_finds_what_counts_and_nothing_else(sidecar: Sidecar) -> None:
    events = [event(route=route, subject=who) for who in WHO for route in ("/a", "/b")]
    ledger = await Corrected.of(sidecar, events)
    search = Search(wanted=Filter(route="/a"), start=NOON_MS, end=NOON_MS + 1)

    plan = await plans.void(sidecar.database, search)
    assert plan.changed == {1: True, 3: True, 5: True}
    mine = search._replace(wanted=Filter(customer="acme", route="/a"))
    plan = await plans.void(sidecar.database, mine)
    assert plan.changed == {1: True, 3: True}
    await ledger.corrections.make(plan, WHY)

    # What is void is not found again, nor what happened at another time.
    assert (await plans.void(sidecar.database, search)).changed == {5: True}
    with pytest.raises(CorrectionRefused, match="no event that counts"):
        await plans.void(sidecar.database, mine)
    later = search._replace(start=NOON_MS + 1, end=NOON_MS + 2)
    with pytest.raises(CorrectionRefused, match="no event that counts"):
        await plans.void(sidecar.database, later)


async def test_all_that_counts_in_some_windows_is_known_where_a_search_finds_it_all(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(40, seed=1))
    await ledger.void(1, 2, 3)
    everything = Search(wanted=Filter(customer="acme"), start=0, end=NEVER_MS)

    plan = await plans.void(sidecar.database, everything)

    async with sidecar.database.reading() as tx:
        served = await newest_generation(tx)
        assert served is not None
        bulk = BulkFolder(
            decode(served.definition),
            await counting.endpoints(tx),
            (),
            values=Values(values_max=10),
            generation=served.id,
        )
        again = Recounting(
            lambda: bulk, plan.places, plan.changed, up_to_event=served.cursor
        )
        assert not await recount(tx, again), "others count in these windows"
        assert plan.all_up_to == served.cursor
    for search in (
        everything._replace(start=NOON_MS - 1_000_001),
        everything._replace(meter="calls"),
        everything._replace(wanted=Filter(customer="acme", route="/a")),
        Search((4, 5)),
    ):
        plan = await plans.void(sidecar.database, search)
        assert not plan.all_up_to, search


@pytest.mark.parametrize("n_ids", [0, 7])
@pytest.mark.parametrize(
    "wanted",
    [
        Search(wanted=Filter(customer="acme")),
        Search(wanted=Filter(customer="acme", route="/a")),
        Search(wanted=Filter(subject="acct_2"), start=NOON_MS - 4_000_000),
        Search(meter="seats"),
    ],
)
async def test_a_dry_run_counts_what_is_stored_once_it_is_done(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, n_ids: int, wanted: Search
) -> None:
    ledger = await Corrected.of(sidecar, some_events(60, seed=3))
    await ledger.void(5, 6)
    if n_ids:
        monkeypatch.setattr(packing, "IDS_MAX", n_ids)
        sidecar.clock.time_ms += 2 * HOUR_MS
        packer = Packer(sidecar.database, Archived(None, b""), clock=sidecar.clock)
        assert sum([n async for n in _steps(packer)]) > 5

    plan = await plans.void(sidecar.database, wanted)
    would_be = await supposed(ledger, plan)
    made = await ledger.corrections.make(plan, WHY)
    stored = await windows(ledger)
    assert would_be == {one: stored[one] for one in stored.keys() & plan.places}
    back = await plans.revert(sidecar.database, made.id)
    would_be = await supposed(ledger, back)
    assert back.places == plan.places
    await ledger.corrections.make(back, WHY)
    stored = await windows(ledger)
    assert would_be == {one: stored[one] for one in stored.keys() & plan.places}
    assert await ledger.sound() == []


async def _steps(packer: Packer) -> AsyncGenerator[int]:
    while (packed := await packer.step()) is not None:
        yield packed


async def supposed(ledger: Corrected, plan: plans.Plan) -> dict[tuple[Any, ...], Any]:
    """Return what the windows of a plan would come to, but for those of nothing."""
    async with ledger.sidecar.database.reading() as tx:
        served = await newest_generation(tx)
        assert served is not None
        bulk = BulkFolder(
            decode(served.definition),
            await counting.endpoints(tx),
            await counting.cuts_between(tx, 0, NEVER_MS),
            values=await read_values(tx, decode(served.definition)),
            generation=served.id,
        )
        what = Recounting(
            lambda: bulk,
            plan.places,
            plan.changed,
            up_to_event=served.cursor,
            all_up_to=plan.all_up_to,
        )
        found = await recount(tx, what)
    return {tuple(place): (of.totals, of.unique) for place, of in found.items()}


async def test_of_who_changed_hands_is_found_what_each_pays_for(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, some_events(40, seed=2))
    half_ms = NOON_MS - 3_600_000
    claim(ledger.terms, "acme", "acct_2", from_ms=half_ms)
    claim(ledger.terms, "globex", "acct_1", from_ms=half_ms)
    await keep(sidecar.database, ledger.terms, key=ledger.key)
    span: Any = {"start": NOON_MS - 7_000_000, "end": NOON_MS - 9}

    async with sidecar.database.reading() as tx:
        for wanted in (
            *(Filter(customer="acme"), Filter(customer="globex")),
            *(Filter(subject="acct_1"), Filter(subject="nobody")),
        ):
            found = await store.find_facts(
                *(tx, wanted),
                **span,
                after=0,
                up_to=40,
                skip_flags=0,
                columns=("id", "time_ms", "subject_id", "flags"),
            )
            page = await event_log.read_events(tx, wanted, **span, after=0, limit=99)
            assert list(found.facts["id"]) == [one.id for one in page.events], wanted
            assert bool(page.events) == (wanted.subject != "nobody")


async def test_a_meter_finds_what_it_counts(sidecar: Sidecar) -> None:
    await Corrected.of(sidecar, [event(), event(quantities={"seats": 1})])
    search = Search(start=NOON_MS, end=NOON_MS + 1, meter="seats")

    assert (await plans.void(sidecar.database, search)).changed == {2: True}
    with pytest.raises(CorrectionRefused, match="unknown meter `chairs`; known are: "):
        await plans.void(sidecar.database, search._replace(meter="chairs"))


async def test_events_that_are_named_must_count(sidecar: Sidecar) -> None:
    ledger = await Corrected.of(sidecar, [event(), event(time_ms=0), event()])
    await ledger.void(1)

    for event_id, why in ((1, "void already"), (2, "for nothing"), (9, "no event 9")):
        with pytest.raises(CorrectionRefused, match=why):
            await ledger.void(3, event_id)
    with pytest.raises(CorrectionRefused, match="for nothing"):
        await ledger.void(4)  # a correction's own


async def test_what_was_changed_counts_as_it_should_have_been(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(
        sidecar, [event(quantities={"seats": 9, "rows": 2}, bytes_out=7)]
    )
    before = await ledger.usage()

    plan = await plans.amend(
        sidecar.database,
        Search((1,)),
        Changes(subject="acct_2", quantities={"seats": 4}, properties={"model": "x"}),
    )
    made = await ledger.corrections.make(plan, WHY)

    async with sidecar.database.reading() as tx:
        (row,) = await store.rows_of(tx, [made.first_event_id])
    assert (row.subject, row.bytes_out, row.route) == ("acct_2", 7, event().route)
    assert json.loads(row.quantities or "") == {"seats": 4, "rows": 2}
    assert str(await ledger.usage()).count("'seats': [4,") == 5  # a window, a day, all
    assert await ledger.sound() == []
    await ledger.revert(made.id)
    assert await ledger.usage() == before
    assert await ledger.sound() == []


async def test_what_cannot_be_changed_so_is_refused(sidecar: Sidecar) -> None:
    await Corrected.of(sidecar, [event(**WITH_PROPERTIES)])

    with pytest.raises(CorrectionRefused, match="more than its total"):
        await plans.amend(
            sidecar.database, Search((1,)), Changes(quantities={"tokens": 1})
        )
    with pytest.raises(CorrectionRefused, match="say just that already"):
        await plans.amend(sidecar.database, Search((1,)), Changes(subject="acct_1"))


async def test_usage_that_nobody_recorded_is_added(sidecar: Sidecar) -> None:
    ledger = await Corrected.of(sidecar, [event()])
    before = await ledger.usage()

    plan = await plans.add(sidecar.database, [event(subject="acct_9")])
    made = await ledger.corrections.make(plan, WHY)

    assert (made.kind, made.events) == ("add", 1)
    assert await windows(ledger) == await expected(ledger, set())
    assert await ledger.sound() == []
    await ledger.revert(made.id)
    assert await ledger.usage() == before
    with pytest.raises(CorrectionRefused, match="1 to 1000"):
        await plans.add(sidecar.database, [])


async def test_a_correction_is_taken_back_once_and_the_last_one_first(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, [event(), event()])
    first = await ledger.void(1, 2)
    back = await ledger.revert(first)

    with pytest.raises(CorrectionRefused, match=f"taken back by {back}"):
        await ledger.revert(first)
    later = await ledger.void(2)
    with pytest.raises(CorrectionRefused, match=f"revert {later} first"):
        await ledger.revert(back)
    with pytest.raises(NoSuchCorrection, match="no correction 9"):
        await ledger.revert(9)


async def test_what_two_people_correct_at_once_is_corrected_once(
    sidecar: Sidecar,
) -> None:
    ledger = await Corrected.of(sidecar, [event()])
    plan = await plans.void(sidecar.database, Search((1,)))
    asked = Asked("ann", "a test", key="ticket 1")

    made = await ledger.corrections.make(plan, asked)
    assert await ledger.corrections.make(plan, asked) == made
    with pytest.raises(CorrectionRefused, match="by somebody else"):
        await ledger.corrections.make(plan, asked._replace(key=None))
    with pytest.raises(CorrectionRefused, match="something else was asked for"):
        await ledger.corrections.make(plan, asked._replace(query='{"events":[1]}'))


async def test_too_much_is_not_corrected_at_once(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [NOON_MS - 900_000, NOON_MS]
    await Corrected.of(sidecar, [event(time_ms=at_ms) for at_ms in times])
    search = Search(start=0, end=NEVER_MS)

    monkeypatch.setattr(plans, "WINDOWS_MAX", 3)
    with pytest.raises(CorrectionRefused, match="4 windows of 15 minutes"):
        await plans.void(sidecar.database, search)
    monkeypatch.setattr(plans, "ADDED_MAX", 1)
    with pytest.raises(CorrectionRefused, match="4 windows"):
        await plans.amend(sidecar.database, search, Changes(subject="acct_2"))
    monkeypatch.setattr(plans, "EVENTS_MAX", 1)
    with pytest.raises(CorrectionRefused, match="more than 1 events"):
        await plans.void(sidecar.database, search)


async def test_a_correction_that_was_cut_off_is_made_or_leaves_nothing(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await Corrected.of(sidecar, some_events(40, seed=3))
    before = await ledger.usage()

    # Before it is stored: its events mean nothing, and give way to those of the next.
    monkeypatch.setattr(sidecar.ingest, "append", _cut_off)
    with pytest.raises(CutOff):
        await ledger.void(*range(1, 20))
    monkeypatch.undo()
    await ledger.aggregator.run()
    assert await ledger.usage() == before
    assert await ledger.sound() == []

    # Behind that, before it is counted: whoever counts next counts it.
    monkeypatch.setattr(ledger.aggregator, "run", _cut_off)
    with pytest.raises(CutOff):
        await ledger.void(*range(5, 30))
    monkeypatch.undo()
    assert await ledger.usage() == before
    again = Aggregator(sidecar.database, ledger.terms, clock=sidecar.clock)
    await again.start()
    await again.run()
    assert await windows(ledger) == await expected(ledger, set(range(5, 30)))
    assert await ledger.sound() == []


async def test_who_reads_usage_waits_until_all_of_a_correction_is_written(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await Corrected.of(sidecar, some_events(40, seed=6))
    monkeypatch.setattr(correction, "WRITTEN_AT_ONCE", 7)
    monkeypatch.setattr(usage_counted, "LOOK_AGAIN_S", 0.001)
    monkeypatch.setattr(aggregate, "part_of", cut_off_at(4, correction.part_of))
    with pytest.raises(CutOff):
        await ledger.void(*range(1, 30))

    async def read() -> int:
        async with snapshot(sidecar.database) as (_tx, at):
            return at.known_correction

    async def known(_tx: Tx, at: Counted) -> int:
        return at.known_correction

    waiting = asyncio.create_task(read())
    at_once = asyncio.create_task(read_counted(sidecar.database, known))
    async with sidecar.database.reading() as tx:
        with pytest.raises(BeingCorrected):
            await counted_whole(tx)
    assert not waiting.done()
    assert not at_once.done()
    monkeypatch.setattr(aggregate, "part_of", correction.part_of)
    await ledger.aggregator.run()

    assert await waiting == 1
    assert await at_once == 1
    assert await windows(ledger) == await expected(ledger, set(range(1, 30)))
    assert await ledger.sound() == []


async def test_a_reader_does_not_wait_for_ever(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    await Corrected.of(sidecar, [event()])
    async with sidecar.database.transaction() as tx:
        await tx.execute("UPDATE usage SET last_event_id = 9")
    monkeypatch.setattr(usage_counted, "LOOKS_MAX", 1)

    with pytest.raises(BeingCorrected, match="is being corrected"):
        async with snapshot(sidecar.database):
            pass
    with pytest.raises(BeingCorrected, match="is being corrected"):
        await read_counted(sidecar.database, _nothing)


async def _nothing(_tx: Tx, _at: Counted) -> None:
    """Read nothing."""


class CutOff(Exception):
    pass


def cut_off_at(call: int, work: Callable[..., Awaitable[Any]]) -> Any:
    """Return what does the same, until a call that is cut off."""
    calls = count(1)

    async def counted_calls(*args: Any, **more: Any) -> Any:
        if next(calls) == call:
            raise CutOff
        return await work(*args, **more)

    return counted_calls


def _cut_off(*_: object, **__: object) -> Any:
    raise CutOff


async def test_what_is_counted_again_knows_corrections(sidecar: Sidecar) -> None:
    ledger = await Corrected.of(sidecar, some_events(40, seed=4))
    await ledger.void(*range(1, 20))
    known = await windows(ledger)
    terms = agree_to(ledger.terms, "new", NEW, from_ms=0, learned_ms=NOON_MS)
    await keep(sidecar.database, terms, key=ledger.key)
    await ledger.aggregator.follow(terms)

    # A correction of what is counted again already lets that begin anew.
    assert await ledger.aggregator.run() == 0
    async with sidecar.database.reading() as tx:
        assert (await counted(tx)).recounting_percent is None
    again = await windows(ledger)
    assert {
        place: ({k: v for k, v in totals.items() if k != "new"}, values)
        for place, (totals, values) in again.items()
    } == known
    assert await ledger.sound() == []


async def test_a_count_that_goes_on_beside_begins_anew_with_a_correction(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await Corrected.of(sidecar, some_events(40, seed=5))
    terms = agree_to(ledger.terms, "new", NEW, from_ms=0, learned_ms=NOON_MS)
    await keep(sidecar.database, terms, key=ledger.key)
    await ledger.aggregator.follow(terms)
    monkeypatch.setattr(step, "STEP_EVENTS", 25)
    cut_off = cut_off_at(3, add_misfits)
    monkeypatch.setattr(aggregate, "add_misfits", cut_off)
    with pytest.raises(CutOff):  # behind the first step of the count beside
        await ledger.aggregator.run()
    monkeypatch.undo()

    await ledger.void(*range(10, 30))
    await ledger.aggregator.run()

    assert await windows(ledger) == await expected(ledger, set(range(10, 30)))
    assert await ledger.sound() == []
