"""A sidecar and the reference, to which the same things happen."""

from copy import deepcopy
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from meterline_sidecar.clock import format_time_ms, parse_time_ms
from meterline_sidecar.store.edge.event_log import last_event_id
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsRefused
from tests.clock import FakeClock
from tests.producer import event
from tests.web.conftest import Web, configure, web_at
from tests.web.final_model.reference import (
    Call,
    Coupon,
    Grant,
    Owed,
    PlanText,
    Reference,
)

START_MS: Final = parse_time_ms("2026-01-01T12:00:00Z")
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
WHO: Final = ("acme", "bolt")
PLANS: Final = ("basic", "pro", "japan")
ZONES: Final = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland")
SUBJECTS: Final = ("acme_1", "bolt_1", "acme_7", "bolt_7", "stray")
"""The first two are claimed by patterns alone; the others are moved about."""
FILTERS: Final[tuple[tuple[int, ...], ...]] = ((200, 500), (200,), (500,))


@dataclass
class Files:
    """What the files say of a customer."""

    plan: str = "basic"
    own: Decimal | None = None
    zone: str = "UTC"
    name: str = "Acme"
    ends: date | None = None
    from_day: date | None = None
    is_here: bool = True
    subjects: list[str] = field(default_factory=list[str])


class Corrected(NamedTuple):
    """What a correction made void, and what it added."""

    ids: list[int]
    calls: list[Call]
    added: list[Call]


class World:
    """Does the same to a sidecar and to the reference, and compares what they say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = START_MS
        self.known = Reference()
        self.customers = {name: Files() for name in WHO}
        self.plans = {
            "basic": PlanText("usd", Decimal("0.01")),
            "pro": PlanText("usd", Decimal("0.05"), fee=Decimal(50)),
            "japan": PlanText("jpy", Decimal(3), fee=Decimal(1000)),
        }
        self.calls_filter: tuple[int, ...] = FILTERS[0]
        self.odd_filter: tuple[int, ...] | None = None
        self.finals: dict[tuple[str, str], Any] = {}
        self.n_void = 0
        self.has_credits = False
        """Whether anything was granted."""
        self._web: Web | None = None
        self._open: Any = None
        self._n_grants = 0
        self._ids: list[int] = []
        """Of the events of the calls that are known, in their order; 0: of one that a
        correction added, which no other corrects."""
        self._corrected: dict[int, Corrected] = {}
        """By correction."""

    # --- the sidecar

    async def begin(self) -> None:
        """Open the sidecar for the first time."""
        await self.open()
        self.note(first=True)

    async def open(self) -> None:
        meterline, pricing = self.files
        self._open = web_at(
            self.folder,
            clock=FakeClock(self.now_ms),
            meterline=meterline,
            pricing=pricing,
        )
        self._web = await self._open.__aenter__()

    @property
    def web(self) -> Web:
        assert self._web is not None
        return self._web

    async def close(self) -> None:
        await self._open.__aexit__(None, None, None)

    async def restart(self) -> None:
        await self.close()
        await self.open()

    # --- files

    @property
    def files(self) -> tuple[str, str]:
        meters = _meter("calls", self.calls_filter)
        if self.odd_filter is not None:
            meters += _meter("odd", self.odd_filter)
        customers = "".join(
            _customer(name, said) for name, said in self.customers.items()
        )
        pricing = "".join(_plan(name, text) for name, text in self.plans.items())
        for name, said in self.customers.items():
            if said.own is not None and said.is_here:
                pricing += (
                    f'[[override]]\ncustomer = "{name}"\nplan = "basic"\n'
                    f"[[override.price]]\n{_calls(said.own)}"
                )
        return meters + customers, pricing

    async def load(self) -> None:
        """Have the files loaded, and note what they say from when on.

        A moment later than whatever was last: of a subject that is given away twice in
        one millisecond nobody can say whose it was before.
        """
        self.now_ms += 1
        self.web.clock.time_ms = self.now_ms
        meterline, pricing = self.files
        config = configure(self.folder, meterline=meterline, pricing=pricing)
        await self.web.parts.terms.load(wanted_of(config), author="test")
        self.note()

    async def load_dated(self, who: str, days: int) -> None:
        """Have a customer's changes hold from a day on, unless that must not be."""
        said = self.customers[who]
        said.from_day = self.known.day(who, self.now_ms) + timedelta(days=days)
        try:
            await self.load()
        except TermsRefused as refused:
            from_ms = self.known.start_of(who, said.from_day)
            finals = [closed.end for closed in self.known.closed.values()]
            is_final = from_ms < max(finals, default=0)
            if not is_final and "another currency" not in str(refused):
                raise
            self.customers = deepcopy(self.loaded)

    def note(self, *, first: bool = False) -> None:
        """Note what the files say, from the time on from which it holds."""
        known, now_ms = self.known, self.now_ms
        self.loaded = deepcopy(self.customers)
        utc_day_ms = now_ms // DAY_MS * DAY_MS
        for name, text in self.plans.items():
            known.say(name, "text", 0 if first else utc_day_ms, text)
        known.say("calls", "meter", 0 if first else now_ms, self.calls_filter)
        if self.odd_filter is not None:
            known.say("odd", "meter", now_ms, self.odd_filter)
        for who, said in self.customers.items():
            if not said.is_here:
                self._note_subjects(who, said, first=first)
        in_order = sorted(self.customers.items(), key=lambda one: not one[1].from_day)
        for who, said in in_order:
            if said.is_here:
                self._note_subjects(who, said, first=first)
        for who, said in self.customers.items():
            self._note_customer(who, said, first=first)

    def _note_customer(self, who: str, said: Files, *, first: bool) -> None:
        known, now_ms = self.known, self.now_ms
        if first:
            known.say(who, "zone", 0, said.zone)
            known.say(who, "plan", 0, said.plan)
            known.say(who, "here", 0, True)
            known.say(who, "name", 0, said.name)
            return
        if not said.is_here:
            known.say(who, "here", now_ms, False)
            return
        month = known.month(who, now_ms)
        day_ms = known.start_of(who, known.day(who, now_ms))
        from_ms = max(day_ms, self.final_ms(who))
        if said.from_day is not None:
            from_ms = known.start_of(who, said.from_day)
            known.say(who, "plan", from_ms, said.plan)
            _, start, end = known.month(who, from_ms)
            known.say(who, "zone", from_ms if from_ms == start else end, said.zone)
        known.say(who, "own", from_ms, said.own)
        if said.from_day is None:
            self._note_plan(who, said, from_ms, month)
            known.say(who, "zone", month[2], said.zone)
        known.say(who, "name", now_ms, said.name)
        known.say(who, "ends", now_ms, said.ends)
        known.say(who, "here", now_ms, True)

    def _note_plan(
        self, who: str, said: Files, from_ms: int, month: tuple[str, int, int]
    ) -> None:
        known = self.known
        before_ms = min(from_ms, known.last_ms(who))
        parts = known.parts(who, month[1], before_ms) if month[1] < before_ms else []
        others = {part.plan.currency for part in parts if part.plan}
        is_other = bool(others - {self.plans[said.plan].currency})
        known.say(who, "plan", month[2] if is_other else from_ms, said.plan)

    def _note_subjects(self, who: str, said: Files, *, first: bool) -> None:
        """Note a customer's subjects: all that they have, from when on."""
        known, now_ms = self.known, self.now_ms
        texts = (f"{who}_*", *said.subjects) if said.is_here else ()
        from_ms = 0 if first else now_ms
        if said.from_day is not None:
            from_ms = known.start_of(who, said.from_day)
        n_said = len(known.rows)
        known.say(who, "subjects", from_ms, texts)
        if len(known.rows) == n_said:
            return
        since_ms = from_ms if from_ms > now_ms else self.final_ms(who)
        if not known.at(who, "here", now_ms) and not first:
            day_ms = known.start_of(who, known.day(who, now_ms))
            since_ms = max(since_ms, day_ms)
        known.owners.say(
            who, texts, from_ms=from_ms, since_ms=since_ms, learned_ms=now_ms
        )

    def final_ms(self, who: str) -> int:
        return max(
            (c.end for (w, _), c in self.known.closed.items() if w == who), default=0
        )

    # --- what happens

    async def use(self, subject: str, n: int, *, status: int, ago_ms: int = 1) -> None:
        at_ms = max(self.now_ms - ago_ms, START_MS - 6 * HOUR_MS)
        await self.web.ship(
            *(event(time_ms=at_ms, subject=subject, status=status) for _ in range(n))
        )
        self.known.calls += [Call(at_ms, subject, status)] * n
        async with self.web.parts.database.reading() as tx:
            last_id = await last_event_id(tx)
        self._ids += range(last_id - n + 1, last_id + 1)

    async def void(self, which: int, n: int) -> None:
        """Make some calls in a row void."""
        ids, calls = self._taken(which, n)
        if ids:
            await self._keep(Corrected(ids, calls, []), {})

    async def amend(self, which: int, n: int, subject: str) -> None:
        """Let some calls in a row be another subject's."""
        ids, calls = self._taken(which, n, but=subject)
        if ids:
            added = [call._replace(subject=subject) for call in calls]
            await self._keep(
                Corrected(ids, calls, added), {"set": {"subject": subject}}
            )

    async def _keep(self, corrected: Corrected, how: dict[str, Any]) -> None:
        body = {"events": corrected.ids, "reason": "the model"} | how
        answer = await self._correct("/v1/corrections", body)
        self._corrected[answer["correction"]["correction"]] = corrected
        self._ids += [0] * len(corrected.added)
        self.known.calls += corrected.added

    def _taken(
        self, which: int, n: int, *, but: str = ""
    ) -> tuple[list[int], list[Call]]:
        """Take calls out of those that are known, but none of one subject."""
        start = which * len(self._ids) // 10
        known = zip(self._ids, self.known.calls, strict=True)
        some = list(known)[start : start + n]
        taken = [(i, call) for i, call in some if i and call.subject != but]
        for i, _ in taken:
            self._drop(self._ids.index(i))
        return [i for i, _ in taken], [call for _, call in taken]

    def _drop(self, at: int) -> None:
        del self._ids[at], self.known.calls[at]

    async def revert(self, which: int) -> None:
        """Take a correction back."""
        if not self._corrected:
            return
        correction = list(self._corrected)[which % len(self._corrected)]
        ids, calls, added = self._corrected.pop(correction)
        await self._correct(f"/v1/corrections/{correction}/revert?reason=model", {})
        for call in added:
            known = enumerate(zip(self._ids, self.known.calls, strict=True))
            self._drop(next(at for at, one in known if one == (0, call)))
        self._ids += ids
        self.known.calls += calls

    async def _correct(self, path: str, body: object) -> Any:
        response = await self.web.http.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def wait(self, hours: int) -> None:
        self.now_ms += hours * HOUR_MS
        self.web.clock.time_ms = self.now_ms

    def grant(self, dollars: int, days: int) -> None:
        """Grant a credit on every plan in dollars; with days it expires."""
        self.has_credits = True
        self._n_grants += 1
        today = date.fromisoformat(format_time_ms(self.now_ms)[:10])
        expires = today + timedelta(days=days) if days else None
        grant = Grant(f"grant {self._n_grants}", Decimal(dollars), expires)
        for name in ("basic", "pro"):
            text = self.plans[name]
            self.plans[name] = changed(text, grants=(*text.grants, grant))

    def coupon(self, dollars: int, periods: int) -> None:
        name = f"coupon {dollars} {periods}"
        self._give(Coupon(name, Decimal(dollars), None, periods))

    def percent_coupon(self, percent: int, periods: int) -> None:
        name = f"coupon {percent} % {periods}"
        self._give(Coupon(name, None, Decimal(percent), periods))

    def _give(self, coupon: Coupon) -> None:
        self.has_credits = True
        for name in ("basic", "pro"):
            self.plans[name] = changed(self.plans[name], coupon=coupon)

    def second_meter(self, statuses: tuple[int, ...]) -> None:
        """Have another meter count, at a price on every plan."""
        self.odd_filter = statuses
        for name, text in self.plans.items():
            self.plans[name] = changed(text, odd_unit=Decimal(2))

    def move(self, subject: str, to: int) -> None:
        for said in self.customers.values():
            if subject in said.subjects:
                said.subjects.remove(subject)
        if to < len(WHO) and self.customers[WHO[to]].is_here:
            self.customers[WHO[to]].subjects.append(subject)

    def leave_or_return(self, who: str) -> None:
        said = self.customers[who]
        said.is_here = not said.is_here
        said.ends, said.own, said.from_day = None, None, None
        said.subjects.clear()

    def end(self, who: str, days: int) -> None:
        """Let a customer end in some days, or not at all."""
        if self.customers[who].is_here:
            today = self.known.day(who, self.now_ms)
            self.customers[who].ends = today + timedelta(days=days) if days else None

    # --- invoices

    def closable(self, who: str) -> list[str]:
        found: list[str] = []
        for name, start, _ in self.known.edges(who):
            if start > self.now_ms:
                break
            edges = self.known.period(who, name)
            is_open = (who, name) not in self.known.closed
            if is_open and edges is not None and edges[1] <= self.now_ms:
                found.append(name)
        return found

    async def close_period(self, who: str, period: str) -> None:
        """Make an invoice final, and compare it with what it should be."""
        answer = (
            await self.web.http.post(
                f"/v1/customers/{who}/invoice/finalize", params={"period": period}
            )
        ).json()
        wanted = self.known.owed(who, period, self.now_ms, keep=True)
        if self.is_known:
            assert_equal(answer, wanted)
        self.finals[who, period] = bare(answer)

    async def void_invoice(self, who: str, which: int) -> None:
        """Take an invoice back: its period is open again."""
        periods = [period for name, period in self.finals if name == who]
        if not periods:
            return
        period = periods[which % len(periods)]
        page = await self.web.get(
            "/v1/invoices", customer=who, period=period, kind="invoice"
        )
        number = page["documents"][0]["number"]  # the newest
        answer = await self.web.http.post(
            f"/v1/invoices/{number}/void", json={"reason": "the model"}
        )
        assert answer.status_code == 200, answer.text
        del self.finals[who, period], self.known.closed[who, period]
        self.n_void += 1

    async def check_finals(self) -> None:
        """Check that what is final says what it said."""
        for (who, period), final in self.finals.items():
            assert bare(await self.invoice(who, period)) == final

    @property
    def is_known(self) -> bool:
        """Whether the reference knows what is owed.

        It does not know which final period has what a void invoice gives back of a
        credit: that depends on which of them are rated again.
        """
        return not (self.has_credits and self.n_void)

    async def check_owed(self) -> None:
        """Check that every call is paid for once: by finals, and by the next draft."""
        if not self.is_known:
            return
        for who in WHO:
            account = await self.web.get(f"/v1/customers/{who}/statement")
            balances = {
                one["currency"]: Decimal(one["amount"]) for one in account["balances"]
            }
            owed = {currency: amount for currency, amount in balances.items() if amount}
            assert owed == self.known.account(who)
            for name, start, _ in self.known.edges(who):
                edges = self.known.period(who, name)
                if start > self.now_ms or (who, name) in self.finals or edges is None:
                    continue
                draft = await self.invoice(who, name)
                assert_equal(draft, self.known.owed(who, name, self.now_ms, keep=False))

    async def invoice(self, who: str, period: str) -> Any:
        return await self.web.get(f"/v1/customers/{who}/invoice", period=period)


def assert_equal(answer: Any, wanted: Owed) -> None:
    assert "due" in answer, answer
    invoice = answer["invoice"]
    due = {invoice["currency"]: Decimal(answer["due"])}
    for other in answer["also_due"]:
        due[other["currency"]] = Decimal(other["amount"])
    adjusted = {
        (late["period"], late["currency"]): Decimal(late["amount"])
        for late in answer["adjustments"]
    }
    said = Owed(Decimal(invoice["total"]), invoice["currency"], adjusted, due)
    assert said == wanted, (invoice["period"]["name"], said, wanted)


def bare(answer: Any) -> Any:
    """Return an invoice without what says how fresh the answer is."""
    return {**answer, "fresh_as_of": ""}


def _meter(name: str, statuses: tuple[int, ...]) -> str:
    shown = ",".join(str(status) for status in statuses)
    return f'[[meter]]\nname = "{name}"\naggregation = "count"\nwhere = {{ status = "{shown}" }}\n'


def _customer(name: str, said: Files) -> str:
    if not said.is_here:
        return ""
    subjects = ", ".join(f'"{text}"' for text in [f"{name}_*", *said.subjects])
    ends = f"ends = {said.ends}\n" if said.ends else ""
    if said.from_day:
        ends += f"from = {said.from_day}\n"
    return (
        f'[[customer]]\nid = "{name}"\nname = "{said.name}"\nsubjects = [{subjects}]\n'
        f'plan = "{said.plan}"\ntime_zone = "{said.zone}"\nstarts = 2026-01-01\n{ends}'
    )


def _calls(unit: Decimal) -> str:
    return (
        f'name = "calls"\nmeter = "calls"\nmodel = "per_unit"\nunit_amount = "{unit}"\n'
    )


def _off(coupon: Coupon) -> str:
    if coupon.percent is not None:
        return f'percent = "{coupon.percent}"\n'
    return f'amount = "{coupon.amount}"\n'


def _plan(name: str, text: PlanText) -> str:
    found = f'[[plan]]\nname = "{name}"\ncurrency = "{text.currency}"\n'
    if text.fee:
        found += (
            f'[[plan.price]]\nname = "fee"\nmodel = "flat"\namount = "{text.fee}"\n'
        )
    found += f"[[plan.price]]\n{_calls(text.unit)}"
    if text.odd_unit is not None:
        found += (
            f'[[plan.price]]\nname = "odd"\nmeter = "odd"\nmodel = "per_unit"\n'
            f'unit_amount = "{text.odd_unit}"\n'
        )
    if text.coupon is not None:
        found += (
            f'[[plan.coupon]]\nname = "{text.coupon.name}"\n{_off(text.coupon)}'
            f"periods = {text.coupon.periods}\n"
        )
    for grant in text.grants:
        expires = f"expires = {grant.expires}\n" if grant.expires else ""
        found += f'[[plan.credit]]\nname = "{grant.name}"\namount = "{grant.amount}"\n{expires}'
    return found
