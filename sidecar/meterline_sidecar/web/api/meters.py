"""Counting a meter again: what it would change, and doing it."""

from datetime import UTC, date, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from meterline_pricing.errors import unknown
from meterline_sidecar.billing.consequences import edges_of, of_recount
from meterline_sidecar.terms.book import ALWAYS
from meterline_sidecar.terms.keeper import TermsRefused
from meterline_sidecar.usage.counted import counted_again, counted_now
from meterline_sidecar.usage.recount import count_again
from meterline_sidecar.web.answers.meters import (
    DefinedMeter,
    Meters,
    RecountBegun,
    RecountedUsage,
    RecountGivenUp,
    RecountPreview,
)
from meterline_sidecar.web.money import shown_money
from meterline_sidecar.web.operations import Operation
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import Conflict, NoSuchThing
from meterline_sidecar.web.query import Nothing

REASON_CHARS_MAX: Final = 500

MeterName = Annotated[str, Meta(description="The name of a meter.")]
Since = Annotated[
    str,
    Meta(
        description="A day in UTC, such as `2026-11-01`; by default from the beginning.",
        pattern=r"^\d{4}-\d{2}-\d{2}$",
    ),
]


class PreviewQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which meter, and from when on."""

    meter: MeterName
    since: Since | None = None


class RecountQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which meter, from when on, and why."""

    meter: MeterName
    since: Since | None = None
    into_final: Annotated[
        str,
        Meta(
            description="Why it may change periods that are final; empty: it may not.",
            max_length=REASON_CHARS_MAX,
        ),
    ] = ""


class DiscardQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which meter is not to be counted again any more, and why."""

    meter: MeterName
    reason: Annotated[str, Meta(max_length=REASON_CHARS_MAX)] = ""


async def list_meters(parts: Parts, query: Nothing) -> Meters:
    """Return all meters, with what people call them and what Stripe does."""
    names = parts.config.names
    return Meters(
        meters=tuple(
            DefinedMeter(
                meter=one.meter.name,
                title=names.title(one.meter.name),
                unit=names.unit(one.meter.name),
                aggregation=one.meter.aggregation,
                event_name=one.stripe_event_name
                if one.bill_through == "meter"
                else None,
            )
            for one in parts.config.meters
        )
    )


async def preview_recount(parts: Parts, query: PreviewQuery) -> RecountPreview:
    """Return whose usage and money would change if a meter were counted again now."""
    terms, now_ms = parts.terms.terms, parts.clock.now_ms()
    meter = terms.meter(query.meter, now_ms)
    if meter is None:
        names = terms.names("meter")
        counting = [name for name in names if terms.meter(name, now_ms) is not None]
        raise NoSuchThing(unknown("meter", query.meter, counting))
    from_ms = _from_ms(query.since)
    found = await count_again(
        parts.database,
        {query.meter: (from_ms, meter)},
        edges=await edges_of(parts.database, terms),
        read_events=parts.archive.archived.events_after,
    )
    diff = await parts.terms.preview_recount(query.meter, from_ms=from_ms)
    return RecountPreview(
        meter=query.meter,
        since=query.since or "the beginning",
        changes=tuple(
            RecountedUsage(one.customer, one.month, one.before, one.after)
            for one in found.differences
        ),
        money=shown_money(
            await of_recount(parts.database, terms, found, now_ms=now_ms)
        ),
        refused=diff.refused,
    )


async def recount_meter(parts: Parts, query: RecountQuery, author: str) -> RecountBegun:
    """Count a meter again as it is now; what was counted is read until that is done."""
    try:
        diff = await parts.terms.recount_meter(
            query.meter,
            from_ms=_from_ms(query.since),
            author=author,
            reason=query.into_final,
        )
    except TermsRefused as error:
        raise Conflict(str(error)) from error
    at = await counted_now(parts.database)
    return RecountBegun(
        meter=query.meter,
        agreed=diff.told,
        recounting_percent=at.recounting_percent,
    )


async def discard_recount(
    parts: Parts, query: DiscardQuery, author: str
) -> RecountGivenUp:
    """Give up counting a meter again, with those that are counted beside it."""
    async with parts.database.reading() as tx:
        names = await counted_again(tx)
    if query.meter not in names:
        others = ", ".join(names) or "no meter is"
        raise Conflict(
            f"meter {query.meter} is not being counted again ({others}); what is"
            " complete stays"
        )
    await parts.terms.give_up_recount(author=author, reason=query.reason)
    return RecountGivenUp(meters=names)


def _from_ms(since: str | None) -> int:
    if since is None:
        return ALWAYS
    try:
        day = date.fromisoformat(since)
    except ValueError as error:
        raise Conflict(f"{since} is not a day; write it as 2026-11-01") from error
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000


OPERATIONS = (
    Operation("/v1/meters", list_meters),
    Operation("/v1/meters/{meter}/recount", preview_recount),
    Operation("/v1/meters/{meter}/recount", recount_meter, method="POST"),
    Operation("/v1/meters/{meter}/recount/discard", discard_recount, method="POST"),
)
