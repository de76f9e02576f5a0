"""Usage of days that are over, of subjects with many groups: a day in one row.

A subject with a thousand groups has as many rows a day, and 31,000 a month. Once a day is
over they become one row, column by column: a meter's totals of all groups are a list, and
the lists of a month are added up in a tenth of the time. A pack stands in the place of its
rows. What is counted later stands beside it, in rows: of other events, so that of a group
in both, both are added up.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from meterline_sidecar.errors import DatabaseCorrupt
from meterline_sidecar.meters import Total, Totals
from meterline_sidecar.store.columns import LISTED, listed
from meterline_sidecar.store.port import Tx
from meterline_sidecar.store.rollups import Rollup

GROUPS_MIN: Final = 50
"""Of fewer a day stays as it is: a month of them is read in 1.6 ms."""
PACKED: Final = Rollup("packed_days", ("subject_id", "day_ms"))


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Groups that have totals of the same meters, in one day."""

    groups: msgspec.Raw
    """Their ids in order, a list as JSON: days of the same groups have the same text."""
    whole: dict[str, list[int]]
    """By meter the totals of all of these groups, where all are whole numbers ..."""
    others: dict[str, list[Total]]
    """... and where they are not."""

    def ids(self) -> list[int]:
        """Return the ids of its groups."""
        return ids_in(self.groups)

    def column(self, meter: str) -> Sequence[Total]:
        """Return a meter's totals of all groups; none where they have none of it."""
        if meter in self.whole:
            return self.whole[meter]
        return self.others.get(meter, ())

    def rows(self) -> Iterator[tuple[int, Totals]]:
        """Yield the totals of each group, by its id.

        Raises:
            DatabaseCorrupt: a column is longer or shorter than the list of groups.
        """
        columns: dict[str, Sequence[Total]] = {**self.whole, **self.others}
        try:
            # Of no column there is no group either.
            rows = zip(*columns.values(), strict=True)
            for group_id, totals in zip(self.ids(), rows, strict=True):
                yield group_id, dict(zip(columns, totals, strict=True))
        except ValueError as error:
            raise DatabaseCorrupt(DAMAGED) from error


DAMAGED: Final = "packed_days: a row is not what was written; run `meterline verify`"

_ids: Final = msgspec.json.Decoder(list[int])
_blocks: Final = msgspec.json.Decoder(list[Block])


class Packed(NamedTuple):
    """What packs say, of as many days as were read."""

    blocks: list[Block]
    labels: Mapping[int, str]
    """Of every group in them, by its id."""


NO_PACKS: Final = Packed([], {})


def pack(totals: Mapping[int, Totals]) -> str:
    """Return a day's totals, by the ids of their groups, as a pack says them."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for group_id in sorted(totals):
        alike[tuple(sorted(totals[group_id]))].append(group_id)
    blocks: list[Block] = []
    for names, ids in sorted(alike.items()):
        block = Block(msgspec.Raw(msgspec.json.encode(ids)), {}, {})
        for name in names:
            column = [totals[group_id][name] for group_id in ids]
            numbers = [total for total in column if type(total) is int]
            if len(numbers) == len(column):
                block.whole[name] = numbers
            else:
                block.others[name] = column
        blocks.append(block)
    return msgspec.json.encode(blocks).decode()


def unpack(body: str) -> list[Block]:
    """Return what a pack says.

    Raises:
        DatabaseCorrupt: nobody wrote that.
    """
    try:
        return _blocks.decode(body)
    except msgspec.MsgspecError as error:
        raise DatabaseCorrupt(DAMAGED) from error


def unpacked(body: str) -> dict[int, Totals]:
    """Return what a pack says by the ids of groups; of one that is in it twice, the last.

    Raises:
        DatabaseCorrupt: nobody wrote that.
    """
    return dict(row for block in unpack(body) for row in block.rows())


def ids_in(groups: msgspec.Raw | bytes) -> list[int]:
    """Return the ids of a block's groups.

    Raises:
        DatabaseCorrupt: they are none.
    """
    try:
        return _ids.decode(groups)
    except msgspec.MsgspecError as error:
        raise DatabaseCorrupt(DAMAGED) from error


async def labels_in(tx: Tx, blocks: Iterable[Block]) -> dict[int, str]:
    """Return the labels of all groups in some blocks, by their ids.

    Raises:
        DatabaseCorrupt: a group is not there.
    """
    ids: set[int] = set()
    for groups in {bytes(block.groups) for block in blocks}:
        ids.update(ids_in(groups))
    if not ids:
        return {}
    first, last = min(ids), max(ids)
    # Groups of a meter mostly came one after the other: then a span is read, in half the
    # time that it takes to look each up.
    is_dense = last - first < 2 * len(ids)
    some = "id BETWEEN ? AND ?" if is_dense else f"id IN {LISTED}"
    rows = await tx.fetch_all(
        f"SELECT id, labels FROM groups WHERE {some}",  # noqa: S608 - our own words
        (first, last) if is_dense else (listed(sorted(ids)),),
    )
    labels: dict[int, str] = dict(rows)
    if not ids <= labels.keys():
        raise DatabaseCorrupt(DAMAGED)
    return labels
