"""Compares what follows from other tables with these: counts, who pays, what is held.

Each of these tables could be made again from what the chain and the journal cover. So a
row of them that was changed, deleted or slipped in does not agree with them.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import UnsetType

from meterline.events import LEFT_OUT, Flag
from meterline_sidecar.ledger.away import Away, OfProducer
from meterline_sidecar.ledger.erased import under_way
from meterline_sidecar.ledger.report import Progress, Report
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.store import facts
from meterline_sidecar.store import usage as usage_store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge import held
from meterline_sidecar.store.edge import integrity as store
from meterline_sidecar.store.edge import usage as counting
from meterline_sidecar.store.edge.erase import stray_seals
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import WINDOW_MS
from meterline_sidecar.store.terms import NEVER_MS, terms_after
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange, MeterChange
from meterline_sidecar.terms.claims import MARK, Step, turn
from meterline_sidecar.terms.settle import OWNERS_ROW
from meterline_sidecar.usage.definition import OF_BEFORE, decode

ROWS_PER_READ: Final = 2_000
ALL: Final = 1 << 62
COUNTS: Final = store.Beyond._fields[4:]


async def verify_sums(tx: Tx, report: Report, away: Away) -> None:
    """Compare counts with the rows that they are of."""
    for table, stray in await store.stray_rows(tx):
        much = "too many" if stray > 0 else "too few"
        report.add(f"{n_of(abs(stray), 'row')} {much} in {table}")
    # Whatever of them is away makes a producer differ: then all of these are looked at.
    limit = store.WRONG_MAX if away.begin.batch_id == 0 else ALL
    found = await store.producers_beyond(
        tx, held_flag=Flag.HELD, bad_flag=LEFT_OUT, limit=limit
    )
    for beyond in found:
        if wrong := _wrong_counts(beyond, away):
            report.add(
                f"producer {beyond.producer}: {', '.join(wrong)} do not agree with its"
                " batches"
            )
    for producer in away.producers.keys() - {beyond.producer for beyond in found}:
        report.add(f"producer {producer}: its counts do not agree with its batches")
    if await store.has_wrong_sums(tx):
        report.add("the sums over all producers do not agree with their rows")


def _wrong_counts(beyond: store.Beyond, away: Away) -> list[str]:
    """Return which counts of a producer are not what is here and what is away."""
    theirs = away.producers.get(beyond.producer, OfProducer())
    last_seq = beyond.last_seq_here
    if last_seq is None:
        last_seq = theirs.last_seq if away.is_read else beyond.last_seq
    wrong = [] if beyond.last_seq == last_seq else ["last_seq"]
    if beyond.is_short:
        wrong.append("recorded_seq")
    return wrong + [
        name
        for name, more, gone in zip(COUNTS, beyond.counts, theirs.counts, strict=True)
        if (more != gone if away.is_read else more < 0)
    ]


async def verify_erasures(tx: Tx, report: Report) -> None:
    """Check that each seal is of an erasure, and of a row that there is."""
    erasing = await under_way(tx)
    in_progress = 0 if erasing is None else erasing.id
    for entry, row_id in await stray_seals(tx, in_progress=in_progress):
        report.add(f"erasure_seals: that of row {row_id} of {entry} is of no erasure")


async def verify_held(tx: Tx, report: Report, away: Away) -> None:
    """Check that each held event is noted, and counted at most once, as was decided."""
    for event_id in await store.wrong_held(
        tx, held_flag=Flag.HELD, begins_behind=away.begin.event_id
    ):
        report.add(f"held event {event_id} is not noted as it came, or as was decided")
    for event_id in await held.wrong_releases(tx, released_flag=Flag.RELEASED):
        report.add(f"event {event_id} does not stand for one event that was held")


async def verify_generation(tx: Tx, report: Report, terms: Terms) -> None:
    """Check that usage is counted by what was agreed of meters."""
    generation = await usage_store.newest_generation(tx)
    if generation is None:
        return
    definition = decode(generation.definition)
    newest = (await event_store.marks(tx)).event_id
    if generation.cursor > newest:
        report.add(
            f"usage is counted up to event {generation.cursor}, the last is {newest}"
        )
    if definition.terms_row > terms.row_id:
        report.add(
            f"usage is counted by row {definition.terms_row} of terms, the last is"
            f" {terms.row_id}"
        )
    if definition.terms_row == OF_BEFORE:
        return  # It follows terms from the next start on.
    for name in sorted({*terms.names("meter"), *definition.meters}):
        agreed = [
            entry.change.meter
            for entry in terms.entries("meter", name)
            if isinstance(entry.change, MeterChange)
            and entry.row_id <= definition.terms_row
        ]
        steps = definition.meters.get(name, ())
        counted = steps[-1].meter if steps else None
        if counted != (agreed[-1] if agreed else None):
            report.add(f"what meter {name} counts is not what was agreed")


async def read_terms(tx: Tx, *, up_to: int | None = None) -> Terms:
    """Return what was agreed, up to a row or all of it."""
    terms = Terms()
    while rows := await terms_after(tx, terms.row_id, limit=ROWS_PER_READ):
        wanted = [row for row in rows if up_to is None or row.id <= up_to]
        terms.add(wanted)
        if len(wanted) < len(rows):
            break
    return terms


async def verify_owners(
    tx: Tx, terms: Terms, report: Report, progress: Progress
) -> None:
    """Compare who pays for each subject with what was agreed.

    Subjects follow new terms step by step. Until they do, each may be as it was
    before them.
    """
    done = int(await facts.get_fact(tx, OWNERS_ROW) or 0)
    books = [terms]
    if done < terms.row_id:
        books.append(await read_terms(tx, up_to=done))
    agreed_ms = _times(terms)
    cuts: dict[int, set[int]] = defaultdict(set)
    for cut in await counting.cuts_between(tx, 0, NEVER_MS):
        cuts[cut.subject_id].add(cut.cut_ms)
    n_subjects, last_id = 0, store.LOWEST
    while rows := await store.owners_after(tx, last_id, limit=ROWS_PER_READ):
        for subject_id, name, customer, is_split in rows:
            stored: list[Step] = [(0, customer)]
            if is_split:
                parts = await store.parts_of(tx, subject_id)
                stored = [(from_ms, who) for from_ms, _, who in parts]
                if not _fit(parts, customer):
                    report.add(f"who pays for {name} does not fit together (owners)")
            if is_split not in (0, 1) or not any(
                book.claims.history(name) == stored for book in books
            ):
                report.add(
                    f"who pays for {name} is not what was agreed: {_said(stored)}"
                )
            theirs = cuts.pop(subject_id, set())
            needed = {from_ms for from_ms, _ in stored if from_ms % WINDOW_MS}
            if not needed <= theirs or (theirs - _times_of(agreed_ms, name)):
                report.add(f"window_cuts: those of {name} are not what was agreed")
        n_subjects += len(rows)
        last_id = rows[-1][0]
        progress("subjects", n_subjects, n_subjects)
    for subject_id in await store.stray_parts(tx):
        report.add(f"owners: subject {subject_id} did not change hands")
    for subject_id in sorted(cuts):
        report.add(f"window_cuts: there is no subject {subject_id}")


def _fit(parts: Sequence[tuple[int, int, str | None]], last: str | None) -> bool:
    """Say whether the times of payers follow on each other, up to the last one."""
    ends = [*(from_ms for from_ms, _, _ in parts[1:]), NEVER_MS]
    return (
        len(parts) > 1
        and [end_ms for _, end_ms, _ in parts] == ends
        and parts[-1][2] == last
    )


def _said(steps: Sequence[Step]) -> str:
    return ", ".join(f"{who or 'nobody'} from {from_ms} on" for from_ms, who in steps)


def _times(terms: Terms) -> dict[str, set[int]]:
    """Return from when on anybody claimed or gave up a subject or pattern, by text."""
    found: dict[str, set[int]] = defaultdict(set)
    for name in terms.names("customer"):
        held: dict[str, int] = {}
        for entry in terms.entries("customer", name):
            assert isinstance(entry.change, CustomerChange)
            if isinstance(entry.change.subjects, UnsetType):
                continue
            changed = turn(held, entry.change.subjects, from_ms=entry.from_ms)
            for text in (*changed.taken, *changed.given_up):
                # Who gives up what was still to come does so when it is learned.
                found[text] |= {entry.from_ms, entry.learned_ms}
                if isinstance(entry.change.unclaimed_from_ms, int):
                    found[text].add(entry.change.unclaimed_from_ms)
            held = changed.held
    return found


def _times_of(times: Mapping[str, set[int]], subject: str) -> set[int]:
    """Return from when on anybody claimed or gave up a subject, by name or pattern."""
    patterns = (subject[:length] + MARK for length in range(len(subject) + 1))
    return {at for text in (subject, *patterns) for at in times.get(text, ())}
