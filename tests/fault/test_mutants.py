"""The faults that this suite exists to find, put in on purpose: it must find each.

Every mutant is a patch to a copy of the packages; a few tests run against that copy,
in a process of their own, and must fail.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.fault.foreign_mutants import FOREIGN
from tests.fault.nursery import ROOT, Nursery, Ran

PACKAGES: Final = (
    "middleware/meterline",
    "pricing_rules/meterline_pricing",
    "sidecar/meterline_sidecar",
)
SIMULATOR: Final = "tests/fault/test_simulator.py::test_the_known_seeds_hold"
GAP: Final = (
    "tests/integration/ingest/test_receiver.py"
    "::test_a_gap_is_refused_and_the_resume_number_is_given"
)
SCAN: Final = "tests/unit/middleware/test_scan.py"
CUT_OFF: Final = "tests/integration/usage/test_cut_off.py"
COVERAGE: Final = (
    "tests/integration/ledger/test_coverage.py"
    "::test_whatever_is_done_to_a_row_of_a_covered_table_is_found"
)
MEMORY: Final = (
    "tests/integration/ledger/test_recount.py"
    "::test_memory_does_not_grow_with_the_ledger"
)
OLD_COPY: Final = (
    "tests/integration/ledger/test_verify.py"
    "::test_an_old_copy_put_back_is_found_at_start_and_bills_nothing"
)
OVER_HTTP: Final = "tests/web/test_external_events.py"
IDS: Final = "tests/web/test_ids.py"
RETRIES: Final = "tests/web/test_retries.py"
LEDGER: Final = "sidecar/meterline_sidecar/ledger"
SPOOL_NUMBERS: Final = "tests/integration/ingest/test_spool_numbers.py"

READING: Final = """\
            step = await self._read(beside=beside)
"""
COUNTING: Final = """\
            if step is None:
                return None
            pace.note(step)
            if not pace.admits(step):
                continue
            if step.correction is not None:
                if await self._correct(step, step.correction):
                    return step
            elif await self._database.write(partial(self._keep, step=step)):
                return step

"""
KEEPING: Final = '''\
    async def _read(self, *, beside: bool) -> Step | None:
        n_events = self._paces[beside].n_events

        async def folded(tx: Tx) -> Step | None:
            read = await read_step(
                tx, beside=beside, endpoints=self._endpoints, n_events=n_events
            )
            return None if read is None else read.folded()

        try:
            # In the database's thread: ingest must be answered meanwhile.
            return await self._database.read(folded)
        except EventsArchived:
            # Who reads the archive waits for more than the transaction.
            async with self._database.reading() as tx:
                read = await read_step(
                    tx,
                    beside=beside,
                    endpoints=self._endpoints,
                    n_events=n_events,
                    read_events=self._read_events,
                )
            return None if read is None else await asyncio.to_thread(read.folded)

    async def _keep(self, tx: Tx, *, step: Step) -> bool:
        """Store what a step came to, unless a meter or an owner changed meanwhile."""
        before, generation = step.before, step.before.id
'''
CHECKING: Final = """\
        if (
            await store.get_generation(tx, generation) != before
            or await cuts_in(tx, step.span) != step.cuts
        ):
            return False
"""
"""What a step of the aggregation does between reading its cursor and telling it."""


class Mutant(NamedTuple):
    """One fault: where it is put in, and which tests must find it."""

    file: str
    before: str
    after: str
    test: str


MUTANTS: Final = {
    "ack before commit": Mutant(
        "sidecar/meterline_sidecar/ingest/accept.py",
        "        return piece.done\n",
        "        piece.done.set_result(piece.last_seq)\n        return piece.done\n",
        SIMULATOR,
    ),
    "dedup removed": Mutant(
        "sidecar/meterline_sidecar/ingest/accept.py",
        "        skip = self._check_follows(state, batch.first_seq)\n",
        "        self._check_follows(state, batch.first_seq)\n        skip = 0\n",
        SIMULATOR,
    ),
    "dedup by a time window": Mutant(
        "sidecar/meterline_sidecar/ingest/accept.py",
        "            row = row._replace(\n                recorded_seq=max(",
        "            if self._clock.now_ms() - row.seen_ms > 3_600_000:\n"
        "                row = row._replace(last_seq=0)\n"
        "            row = row._replace(\n                recorded_seq=max(",
        SIMULATOR,
    ),
    "spool record without CRC check": Mutant(
        "middleware/meterline/spool/scan.py",
        "    if crc32(payload, hint) != crc:\n        return None\n",
        "",
        SCAN,
    ),
    "gap accepted": Mutant(
        "sidecar/meterline_sidecar/ingest/accept.py",
        "        if known < 0 or (exactly and known):\n",
        "        known = max(known, 0)\n        if exactly and known:\n",
        GAP,
    ),
    "head written before commit": Mutant(
        "sidecar/meterline_sidecar/ingest/commit.py",
        "            return marks\n\n        # Of several elections",
        "            from meterline_sidecar.ledger.chain import ChainFiles\n"
        "            if marks.mac is not None:\n"
        "                ChainFiles(self._database.path).write_head(\n"
        "                    Head(marks.batch_id, marks.mac), durably=False\n"
        "                )\n"
        "            return marks\n\n        # Of several elections",
        CUT_OFF,
    ),
    "usage cursor kept in memory": Mutant(
        "sidecar/meterline_sidecar/usage/aggregate.py",
        f"{READING}{COUNTING}{KEEPING}{CHECKING}",
        f"{READING}"
        "            from meterline.events import UNCOUNTED\n"
        "            assert step is not None\n"
        "            known = vars(self).get('known', step.before)\n"
        "            async with self._database.reading() as tx:\n"
        "                events, cursor = await store.events_after(\n"
        "                    tx, known.cursor, skip_flags=UNCOUNTED, limit=20_000\n"
        "                )\n"
        "            step = step._replace(\n"
        "                before=known,\n"
        "                span=step.span._replace(after_id=known.cursor, last_id=cursor),\n"
        "                deltas=step.folder.fold(events),\n"
        "            )\n"
        "            if await self._database.write(partial(self._keep, step=step)):\n"
        "                vars(self)['known'] = known._replace(cursor=cursor)\n"
        "                return step\n\n"
        f"{KEEPING}",
        CUT_OFF,
    ),
    "a number taken by no record": Mutant(
        "middleware/meterline/spool/writer.py",
        "self._write(encode_record(seq, payload))\n",
        "self._write(encode_record(next(self._numbers), payload))\n",
        SPOOL_NUMBERS,
    ),
    "a record that is being written is damage": Mutant(
        "middleware/meterline/spool/scan.py",
        "                    continue  # it was written while we looked\n",
        "                    pass\n",
        SCAN,
    ),
    "an id over HTTP is free before its event is stored": Mutant(
        "sidecar/meterline_sidecar/ingest/external.py",
        "        if not new:\n            tell(known)\n        return new\n",
        "        if not new:\n"
        "            tell(known)\n"
        "        for name in new:\n"
        "            self._arriving[name] = outcome.get_loop().create_future()\n"
        "            self._arriving[name].set_result(known)\n"
        "        return new\n",
        f"{OVER_HTTP}::test_who_waits_no_longer_does_not_free_the_name",
    ),
    "what is given twice over HTTP is read once": Mutant(
        "sidecar/meterline_sidecar/web/api/external_body.py",
        '_encode(events).count(b":") == text.count(b":") and ',
        "",
        "tests/unit/web/test_external_body.py"
        "::test_plain_events_read_at_once_are_those_read_one_by_one",
    ),
    "any content under an id over HTTP is a duplicate": Mutant(
        "sidecar/meterline_sidecar/ingest/external.py",
        "    if known.mac == event.mac:\n",
        "    if known.mac:\n",
        f"{OVER_HTTP}::test_the_first_of_two_in_one_batch_stays",
    ),
    "an app's id counts each time": Mutant(
        "sidecar/meterline_sidecar/ingest/names.py",
        "        if not self._others_write and as_of == self.version and"
        " not self._is_newer:\n",
        "        if True:\n",
        f"{IDS}::test_a_use_with_an_id_counts_once_whoever_tries_again_and_when",
    ),
    "a name that an app took meanwhile is free": Mutant(
        "sidecar/meterline_sidecar/ingest/names.py",
        "            self.version += self._is_newer\n",
        "",
        f"{IDS}::test_a_name_that_an_app_took_meanwhile_is_no_error",
    ),
    "any content under an app's id is a duplicate": Mutant(
        "sidecar/meterline_sidecar/ingest/names.py",
        "DUPLICATE if before.mac == one.mac else CONFLICT",
        "DUPLICATE if before.mac else CONFLICT",
        f"{IDS}::test_other_content_under_an_id_is_kept_told_and_not_counted",
    ),
    "a request that failed takes its key": Mutant(
        "sidecar/meterline_sidecar/ingest/request_keys.py",
        "    return 200 <= request.status < 400\n",
        "    return True\n",
        f"{RETRIES}::test_a_request_that_failed_leaves_its_key_to_the_next",
    ),
    "a key holds for everybody": Mutant(
        "sidecar/meterline_sidecar/ingest/request_keys.py",
        "(app, event.subject, event.method, event.route, key)",
        "(app, event.method, event.route, key)",
        f"{RETRIES}::test_a_key_is_of_one_subject_method_and_route",
    ),
    "a fraction is rounded up": Mutant(
        "sidecar/meterline_sidecar/decimals.py",
        "quantize(smallest, ROUND_HALF_EVEN, _EXACT)",
        'quantize(smallest, "ROUND_UP", _EXACT)',
        "tests/unit/test_decimals.py::test_a_scale_rounds_half_to_even",
    ),
    "nobody looks at names over HTTP": Mutant(
        f"{LEDGER}/external.py",
        "            if not _is_right(key, row) and not _will_be(key, row, erasing):\n",
        "            if row.source is None:\n",
        f"{COVERAGE}[external_events]",
    ),
    "nobody looks at who pays": Mutant(
        f"{LEDGER}/verify.py",
        '        await look("subjects", verify_owners(tx, terms, report, progress))\n',
        "",
        f"{COVERAGE}[owners]",
    ),
    "nobody looks at seals": Mutant(
        f"{LEDGER}/seals.py",
        "                if row.seal != seal_of(key, of.table, row.covered):\n",
        "                if row.seal is None:\n",
        f"{COVERAGE}[outbox]",
    ),
    "a seal that is not made anew": Mutant(
        "sidecar/meterline_sidecar/store/outbox_sending.py",
        "\"UPDATE outbox SET seal = NULL, state = 'sending', attempts = attempts + 1,\"",
        "\"UPDATE outbox SET state = 'sending', attempts = attempts + 1,\"",
        "tests/store/test_seals.py",
    ),
    "the journal is not compared": Mutant(
        f"{LEDGER}/journal.py",
        "            ) != link.mac and not await _is_erased(tx, key, link, row):\n",
        "            ) == link.mac and not link.mac:\n",
        f"{COVERAGE}[invoices]",
    ),
    "totals of all subjects are not compared": Mutant(
        f"{LEDGER}/beside.py",
        "        elif row[1] != value:\n",
        "        elif row[1] != value and self._table != 'usage_totals':\n",
        f"{COVERAGE}[usage_totals]",
    ),
    "held events are not compared": Mutant(
        f"{LEDGER}/verify.py",
        '    await look("held events", verify_held(tx, report, away))\n',
        "",
        f"{COVERAGE}[held_events]",
    ),
    "usage is added up in memory": Mutant(
        f"{LEDGER}/recount.py",
        " > PLACES_MAX:\n",
        " > 1 << 40:\n",
        MEMORY,
    ),
    "an old copy is as good": Mutant(
        f"{LEDGER}/verify.py",
        "    if mac == head.mac:\n",
        "    if mac == head.mac or mac is None:\n",
        OLD_COPY,
    ),
}


def run_against(nursery: Nursery, folder: Path, *arguments: str) -> Ran:
    """Run pytest with the packages that lie in ``folder``."""
    roots = [str(folder / Path(package).parent) for package in PACKAGES]
    ran = nursery.run(roots, *arguments)
    *_, loaded = ran.printed.splitlines()
    assert {
        path for path in loaded.split() if not path.startswith(str(folder))
    } == set()
    assert loaded.split(), ran.printed
    return ran


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as nursery:
        yield nursery


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in PACKAGES:
        # With what is compiled already: it says of which source, by time and size.
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def put_in(mutant: Mutant, copy: Path) -> None:
    file = copy / mutant.file
    source = file.read_text()
    assert source.count(mutant.before) == 1, "the patch does not fit any more"
    file.write_text(source.replace(mutant.before, mutant.after))
    compile(file.read_text(), str(file), "exec")


def test_the_copy_alone_fails_nothing(nursery: Nursery, copy: Path) -> None:
    ran = run_against(nursery, copy, SCAN, SPOOL_NUMBERS)

    assert ran.code == 0, ran.printed


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_the_suite_finds_the_mutant(nursery: Nursery, copy: Path, name: str) -> None:
    mutant = MUTANTS[name]
    put_in(mutant, copy)

    ran = run_against(nursery, copy, "-x", mutant.test)

    assert ran.code == 1, f"nobody noticed: {ran.printed}"


@pytest.mark.parametrize("group", sorted(FOREIGN))
def test_the_suite_finds_the_mutants_of_what_others_can_do(
    nursery: Nursery, copy: Path, group: str
) -> None:
    mutants = {name: Mutant(*mutant) for name, mutant in FOREIGN[group].items()}
    for mutant in mutants.values():
        put_in(mutant, copy)

    ran = run_against(nursery, copy, *(mutant.test for mutant in mutants.values()))

    failed = [line for line in ran.printed.splitlines() if line.startswith("FAILED ")]
    unseen = [
        name
        for name, mutant in mutants.items()
        if not any(line.startswith(f"FAILED {mutant.test}") for line in failed)
    ]
    assert unseen == [], f"nobody noticed: {ran.printed}"
