"""Terms as a history: what was learned, one step after the other."""

from datetime import date
from typing import Any

import msgspec

from meterline_pricing import Plan, RateCard
from meterline_pricing.models import Flat, PerUnit
from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.meters import Meter
from meterline_sidecar.store.terms import TermRow
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import encode, kind_of
from meterline_sidecar.terms.diff import Diff, Differ, Wanted
from meterline_sidecar.terms.owners import WantedCustomer


def ms(text: str) -> int:
    return parse_time_ms(text)


def plan(
    name: str,
    unit_amount: str = "0.01",
    *,
    fee: str | None = None,
    currency: str = "usd",
    **more: Any,
) -> Plan:
    prices = [RateCard(price=PerUnit(unit_amount), meter="calls")]
    if fee is not None:
        prices.insert(0, RateCard(price=Flat(fee), name="fee"))
    return Plan(name=name, currency=currency, prices=tuple(prices), **more)


def customer(name: str = "acme", **fields: Any) -> WantedCustomer:
    day = fields.pop("from_day", None)
    return WantedCustomer(id=name, fields=fields, from_day=day)


def meter(name: str = "calls", **more: Any) -> Meter:
    return Meter(name=name, aggregation=more.pop("aggregation", "count"), **more)


class History:
    """What the files said, one version after the other."""

    def __init__(self) -> None:
        self.terms = Terms()
        self.finals: dict[str, int] = {}

    def diff(
        self,
        at: str,
        *customers: WantedCustomer,
        plans: tuple[Plan, ...] = (),
        meters: tuple[tuple[Meter, date | None], ...] = (),
        reason: str = "",
    ) -> Diff:
        differ = Differ(self.terms, now_ms=ms(at), finals=self.finals, reason=reason)
        return differ.files(Wanted(customers=customers, plans=plans, meters=meters))

    def load(self, at: str, *customers: WantedCustomer, **more: Any) -> Diff:
        found = self.diff(at, *customers, **more)
        assert found.refused == ()
        rows: list[TermRow] = []
        for i, change in enumerate(found.planned, self.terms.row_id + 1):
            # As it is stored, so that what cannot be read back is found.
            text = msgspec.json.encode(msgspec.json.decode(encode(change.change)))
            rows.append(
                TermRow(
                    id=i,
                    kind=kind_of(change.change),
                    name=change.name,
                    change=text.decode(),
                    from_ms=change.from_ms,
                    learned_ms=ms(at),
                    source="file",
                    author="test",
                    reason=change.reason,
                    reaches_final=int(change.reaches_final),
                )
            )
        self.terms.add(rows)
        return found
