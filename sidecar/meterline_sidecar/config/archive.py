"""``[retention]`` and ``[archive]``: how long events stay in the ledger, and where to."""

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta

from meterline_pricing.toml.source import TEXT, Kind, Unfit

DAYS_MIN: Final = 31  # a period is at most as long, and is not final on its last day
FORM: Final = re.compile(r"([1-9]\d{0,4}) (day|month|year)s?")

BUCKETS: Final = frozenset(
    ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "https")
)
"""How the URLs of buckets begin. What else obstore opens keeps no file for long, as
``memory://``, or does not sync it, as ``file://``."""

Unit = Literal["day", "month", "year"]
UNITS: Final[Mapping[str, Unit]] = {unit: unit for unit in get_args(Unit)}
COUNT_MAX: Final[Mapping[Unit, int]] = {"day": 36_524, "month": 1_200, "year": 100}
"""100 years each."""


class Retention(msgspec.Struct, frozen=True):
    """How long events stay."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        """Return it as the file says it."""
        return f"{self.count} {self.unit}{'' if self.count == 1 else 's'}"

    def before(self, now_ms: int) -> int:
        """Return before when events leave: a midnight in UTC."""
        today = datetime.fromtimestamp(now_ms / 1000, UTC).date()
        if self.unit == "day":
            day = today - timedelta(days=self.count)
        else:
            months = self.count * (12 if self.unit == "year" else 1)
            year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
            last = monthrange(year, month + 1)[1]
            day = date(year, month + 1, min(today.day, last))
        return (
            int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
        )


def _retention(value: object) -> Retention:
    found = FORM.fullmatch(TEXT.check(value))
    if found is None:
        raise Unfit
    count = int(found[1])
    unit: Unit = UNITS[found[2]]
    if count > COUNT_MAX[unit]:
        raise Unfit("is more than 100 years; without the key, events stay for ever")
    if unit == "day" and count < DAYS_MIN:
        raise Unfit(f"events stay for at least {DAYS_MIN} days")
    return Retention(count, unit)


def _place(value: object) -> str:
    text = TEXT.check(value)
    if not text or "\0" in text:
        raise Unfit
    scheme, is_url, bucket = text.partition("://")
    if is_url and (scheme.lower() not in BUCKETS or not bucket.strip("/")):
        raise Unfit(
            f"`{scheme}://{bucket.rpartition('@')[2]:.40}` is no bucket: write a directory"
            " as its path, and a bucket as s3://bucket/path, gs:// or az://"
        )
    return text


RETENTION: Final[Kind[Any]] = Kind(
    'a time such as "13 months", "400 days" or "2 years"',
    _retention,
    None,
    {"type": "string", "pattern": f"^{FORM.pattern}$"},
)
PLACE: Final = Kind(
    "a directory, or a URL such as s3://bucket/path",
    _place,
    "",
    {"type": "string", "minLength": 1},
)


class RetentionConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How long events stay in the ledger. Totals and invoices stay for ever."""

    events: Annotated[
        Retention | None,
        Meta(
            description="Older events leave the ledger for the archive once their"
            ' periods are final: `"13 months"`, `"400 days"`. Needs `archive.url`. At'
            " an edge, they leave once its centre has them, or their usage, and has"
            " noted their file.",
            extra={"kind": RETENTION, "default": "for ever"},
        ),
    ] = None


class ArchiveConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Where events go that leave the ledger, and where an edge writes copies; see
    docs/archive.md."""

    url: Annotated[
        str | None,
        Meta(
            description="An existing directory, or, with the extra `archive`, a"
            " bucket: `s3://bucket/path`, `gs://`, `az://`. The keys of a bucket come"
            " from the environment, under the names that its own tools use. An edge"
            " writes its raw events there, and its centre reads them.",
            extra={"kind": PLACE},
        ),
    ] = None
    edges: Annotated[
        tuple[Annotated[str, Meta(extra={"kind": PLACE})], ...] | None,
        Meta(
            description="For a centre: where the files of its edges lie, if not at"
            " `url`; each is looked for at these places in turn. `[]`: where this"
            " centre reads none of them.",
            extra={"default": "`url`"},
        ),
    ] = None

    @property
    def places(self) -> tuple[str, ...]:
        """All places where files may lie, each once."""
        own = () if self.url is None else (self.url,)
        return tuple(dict.fromkeys((*own, *self.of_edges)))

    @property
    def of_edges(self) -> tuple[str, ...]:
        """Where a centre finds the files of its edges."""
        if self.edges is not None:
            return self.edges
        return () if self.url is None else (self.url,)
