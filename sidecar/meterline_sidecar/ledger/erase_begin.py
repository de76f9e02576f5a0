"""What can be erased: it is looked at first, and gets an alias that fits."""

import secrets
from collections.abc import Mapping
from typing import Final, NamedTuple

from meterline_sidecar.ledger.erased import (
    TEXT_CHARS_MIN,
    ErasedWord,
    EraseRefused,
    Erasing,
    forms,
)
from meterline_sidecar.store.edge import erase as store
from meterline_sidecar.store.edge import events as event_store
from meterline_sidecar.store.edge.begin import begin
from meterline_sidecar.store.port import Tx
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import MeterChange
from meterline_sidecar.terms.claims import MARK

ALSO_MAX: Final = 10
NOTHING: Final[Mapping[str, str]] = {}


class Wanted(NamedTuple):
    """What is to be erased, for whom and why."""

    subject: str
    also: tuple[str, ...]
    """Other words that lead to the same person, such as an e-mail address."""
    author: str
    reason: str


async def _check(tx: Tx, terms: Terms, subject: str) -> int:
    """Return the number of a subject whose name can be erased."""
    if subject.endswith(MARK):
        raise EraseRefused(
            f"{subject} is a pattern: name one subject, as it stands in events"
        )
    claimants = terms.claims.claimants(subject)
    if claimants and claimants[-1][1] is not None:
        raise EraseRefused(
            f"customer {claimants[-1][1]} claims this subject by its name: take it"
            " out of their `subjects` first, and erase it then"
        )
    if subject in terms.claims.prefix_of(subject):
        raise EraseRefused(
            "a pattern of a customer holds the whole name, and patterns stay: this"
            " name cannot be erased"
        )
    found = await event_store.subjects_of(tx, [subject])
    if not found:
        raise EraseRefused(
            "no event in the ledger is of such a subject; names are as they stand"
            " in events, to the letter"
        )
    return found[subject]


async def _check_also(tx: Tx, wanted: Wanted) -> None:
    """Make sure that other words can be taken out."""
    if len(wanted.also) > ALSO_MAX:
        raise EraseRefused(f"at most {ALSO_MAX} other words are erased at once")
    for word in wanted.also:
        if len(word) < TEXT_CHARS_MIN:
            raise EraseRefused(
                f"{word} is too short to be looked for in texts: it has to have"
                f" {TEXT_CHARS_MIN} characters, or it may mean something else"
            )
        if word != wanted.subject and await event_store.subjects_of(tx, [word]):
            raise EraseRefused(f"{word} is a subject itself: erase it by itself")
    for word in (wanted.subject, *wanted.also):
        for form in forms(word):
            waiting = await store.waiting_imports(tx, form)
            if waiting:
                raise EraseRefused(
                    f"lines of the import {waiting[0]} wait aside and hold this"
                    " name: commit it or throw it away (`meterline import discard"
                    f" {waiting[0]}`), and erase the name then"
                )


def _alias(terms: Terms, subject: str) -> str:
    """Return a new name that the same patterns take as the old one."""
    claims = terms.claims
    alias = f"{claims.prefix_of(subject)}erased-{secrets.token_hex(8)}"
    if claims.prefix_of(alias) != claims.prefix_of(subject):
        raise EraseRefused(f"a pattern takes names such as {alias}: take it out first")
    return alias


def _kept(terms: Terms) -> tuple[str, ...]:
    """Return the properties that any meter looks at, or ever did."""
    names: set[str] = set()
    for meter in terms.names("meter"):
        for entry in terms.entries("meter", meter):
            if isinstance(entry.change, MeterChange) and entry.change.meter:
                names.update(entry.change.meter.told_apart)
                names.update(entry.change.meter.where.properties)
    return tuple(sorted(names))


async def new_erasure(
    tx: Tx,
    terms: Terms,
    wanted: Wanted,
    *,
    alias: str = "",
    again: tuple[ErasedWord, ...] | None = None,
    known: Mapping[str, str] = NOTHING,
    marks: tuple[str, ...] = (),
) -> Erasing:
    """Return an erasure that is to begin.

    Args:
        alias: of one that is done again; else it is made.
        again: see ``Erasing``.
        known: what already took the place of other words, where that is known.
        marks: see ``Erasing``.

    Raises:
        EraseRefused: it cannot be erased; the text says why.
    """
    subject_id = await _check(tx, terms, wanted.subject)
    await _check_also(tx, wanted)
    erasing = Erasing(
        id=await store.next_id(tx),
        subject=wanted.subject,
        subject_id=subject_id,
        alias=alias or _alias(terms, wanted.subject),
        also={
            word: known.get(word) or f"erased-{secrets.token_hex(8)}"
            for word in wanted.also
        },
        again=again,
        kept=_kept(terms),
        author=wanted.author,
        reason=wanted.reason,
        marks=marks,
        batch_id=(await begin(tx)).batch_id,
    )
    for word in erasing.words:
        if any(word in made for made in (erasing.alias, *erasing.also.values())):
            raise EraseRefused(f"{word} stands in every alias: it cannot be erased")
    return erasing
