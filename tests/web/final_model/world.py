"""A sidecar and the reference, to which the same things happen."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from dataclasses import replace as changed
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from meterline_sidecar.clock import format_time_ms, parse_time_ms
from meterline_sidecar.store.edge.event_log import last_event_id
from meterline_sidecar.store.invoices import uses_of
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsRefused
from tests.clock import FakeClock
from tests.producer import event
from tests.web.conftest import Web, configure, web_at
from tests.web.final_model.mortal import Killed, Life, mortal_connections
from tests.web.final_model.reference import (
    ZERO,
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
        self.gross = self.known.without_grants()
        self.customers = {name: Files() for name in WHO}
        self.plans = {
            "basic": PlanText("usd", Decimal("0.01")),
            "pro": PlanText("usd", Decimal("0.05"), fee=Decimal(50)),
            "japan": PlanText("jpy", Decimal(3), fee=Decimal(1000)),
        }
        self.calls_filter: tuple[int, ...] = FILTERS[0]
        self.odd_filter: tuple[int, ...] | None = None
        self.finals: dict[tuple[str, str], Any] = {}
        self.paid: dict[tuple[str, str], Decimal] = {}
        """By customer and currency."""
        self.n_void = 0
        self.has_grants = self.has_coupons = self.was_given = False
        """Whether a plan grants anything; whether a person gave a credit."""
        self.reports_late = False
        """Whether late usage of calls waits for a person."""
        self.fuse: int | None = None
        """After how many statements the process dies in what it does next."""
        self.n_deaths = 0
        self._life = Life()
        self._connections = mortal_connections(lambda: self._life)
        self._web: Web | None = None
        self._open: Any = None
        self._n_grants = self._n_asked = 0
        self._ids: list[int] = []
        """Of the events of the calls that are known, in their order; 0: of one that a
        correction added, which no other corrects."""
        self._corrected: dict[int, Corrected] = {}
        """By correction."""
        self._waiting: dict[int, Corrected] = {}
        """Late usage that waits, or was rejected, by its id."""

    # --- the sidecar

    async def begin(self) -> None:
        """Open the sidecar for the first time."""
        self._connections.__enter__()
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
        self._connections.__exit__(None, None, None)
        await self._open.__aexit__(None, None, None)

    async def restart(self) -> None:
        await self._open.__aexit__(None, None, None)
        await self.open()

    async def _surely(self, work: Callable[[], Awaitable[object]]) -> None:
        """Do something that a process which dies in it can do again."""
        if self.fuse is not None:
            n, self.fuse = self.fuse, None
            if await self._life.spend(n, _awaited(work)):
                return
            self.n_deaths += 1
            with suppress(Killed, AssertionError):
                await self._open.__aexit__(Killed, Killed(), None)
            self._life = Life()
            await self.open()
            await self.web.parts.aggregator.run()
        await work()

    async def _post(self, path: str, body: object = None, **query: Any) -> Any:
        """Ask for something that counts once, and again where the process dies."""
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await self.web.http.post(path, json=body, params=query))

        n_deaths = self.n_deaths
        await self._surely(ask)
        if self.n_deaths > n_deaths and answers[-1].status_code == 409:
            assert " already" in answers[-1].text or "taken back" in answers[-1].text
            return None  # it was done before the process died, and is said to be
        assert answers[-1].status_code == 200, answers[-1].text
        return answers[-1].json()

    def _key(self) -> str:
        self._n_asked += 1
        return f"the model's {self._n_asked}"

    # --- files

    @property
    def files(self) -> tuple[str, str]:
        meters = _meter("calls", self.calls_filter)
        if self.reports_late:
            meters += 'late = "report"\n'
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
        try:
            await self._load()
        except TermsRefused:
            # A day in the files that is final by now holds for whatever is new of them.
            dated = [c.from_day for c in self.customers.values() if c.from_day]
            if not dated or self.customers == self.loaded:
                raise
            self.customers = deepcopy(self.loaded)
            await self._load()

    async def _load(self) -> None:
        meterline, pricing = self.files
        config = configure(self.folder, meterline=meterline, pricing=pricing)
        await self.web.parts.terms.load(wanted_of(config), author="test")
        self.note()

    async def load_dated(self, who: str, days: int) -> None:
        """Have a customer's changes hold from a day on, unless that must not be."""
        said = self.customers[who]
        said.from_day = self.known.day(who, self.now_ms) + timedelta(days=days)
        self.now_ms += 1
        self.web.clock.time_ms = self.now_ms
        try:
            await self._load()
        except TermsRefused as refused:
            said_days = [c.from_day for c in self.customers.values() if c.from_day]
            from_ms = min(self.known.start_of(who, day) for day in said_days)
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
        late = "report" if self.reports_late else "adjust"
        known.say("calls", "late", 0 if first else now_ms, late)
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
        async with self.web.parts.database.reading() as tx:
            last_id = await last_event_id(tx)
        call = Call(at_ms, subject, status)
        waits = self._waits(call)
        last_id -= waits  # that by which they wait is an event of its own
        ids, calls = [*range(last_id - n + 1, last_id + 1)], [call] * n
        if waits:
            late = (await self.web.get("/v1/late"))["late"][0]
            assert (late["events"], late["state"]) == (n, "waiting")
            self._waiting[late["late"]] = Corrected(ids, calls, [])
        else:
            self._ids += ids
            self.known.calls += calls

    def _waits(self, call: Call) -> bool:
        """Say whether a call came too late, and is counted by what then waits."""
        who = self.known.owner(call.subject, call.time_ms)
        filter_ = self.known.at("calls", "meter", call.time_ms) or ()
        return (
            self.known.at("calls", "late", call.time_ms) == "report"
            and call.status in filter_
            and any(
                name == who and closed.start <= call.time_ms < closed.end
                for (name, _), closed in self.known.closed.items()
            )
        )

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
        body = {"events": corrected.ids, "reason": "the model", "key": self._key()}
        answer = await self._post("/v1/corrections", body | how)
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
        path = f"/v1/corrections/{correction}/revert"
        await self._post(path, {}, reason="model")
        for call in added:
            known = enumerate(zip(self._ids, self.known.calls, strict=True))
            self._drop(next(at for at, one in known if one == (0, call)))
        self._ids += ids
        self.known.calls += calls

    async def decide_late(self, which: int, verb: str) -> None:
        """Accept late usage, which may be rejected already, or reject it."""
        late = (await self.web.get("/v1/late"))["late"]
        open_ = [one["late"] for one in late if one["state"] in ("waiting", "rejected")]
        if verb == "reject":
            open_ = [one["late"] for one in late if one["state"] == "waiting"]
        if not open_:
            return
        chosen = open_[which % len(open_)]
        await self._post(f"/v1/late/{chosen}/{verb}", {}, reason="model")
        if verb == "accept":
            ids, calls, _ = self._waiting.pop(chosen)
            self._ids += ids
            self.known.calls += calls

    def wait(self, hours: int) -> None:
        self.now_ms += hours * HOUR_MS
        self.web.clock.time_ms = self.now_ms

    def grant(self, dollars: int, days: int) -> None:
        """Grant a credit on every plan in dollars; with days it expires."""
        self.has_grants = True
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
        self.has_coupons = True
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
        said = self.customers[who]
        today = self.known.day(who, self.now_ms)
        if said.is_here:
            said.ends = today + timedelta(days=days) if days else None

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
        path = f"/v1/customers/{who}/invoice/finalize"
        self._note_final(who, period, await self._post(path, period=period))

    def _note_final(self, who: str, period: str, answer: Any) -> None:
        wanted = self.known.owed(who, period, self.now_ms, keep=True)
        self.gross.owed(who, period, self.now_ms, keep=True)
        if self.is_known:
            assert_equal(answer, wanted)
        self.finals[who, period] = bare(answer)

    async def month_end(self, days: int) -> None:
        """Go behind the end of a month, and close all that is due, in its order."""
        now = datetime.fromtimestamp(self.now_ms / 1000, UTC)
        end = (now.replace(day=1) + timedelta(days=32)).replace(day=1, hour=13)
        self.wait(int((end - now).total_seconds()) // 3600 + 24 * days)

        async def close() -> None:
            query = {"skip_grace": True}
            answer = await self.web.http.post("/v1/close", params=query)
            assert answer.status_code == 200, answer.text
            await self.web.parts.closer.run()

        await self._surely(close)
        for who in WHO:
            for period in self.closable(who):
                answer = await self.invoice(who, period)
                if answer["status"] == "final":
                    self._note_final(who, period, answer)

    async def _number(self, who: str, period: str) -> str:
        """Return the newest invoice of a period."""
        query = {"customer": who, "period": period, "kind": "invoice"}
        page = await self.web.get("/v1/invoices", **query)
        return str(page["documents"][0]["number"])

    async def _some_invoice(self, who: str, which: int) -> tuple[str, Any] | None:
        periods = [period for name, period in self.finals if name == who]
        if not periods:
            return None
        period = periods[which % len(periods)]
        found = await self.web.get(f"/v1/invoices/{await self._number(who, period)}")
        return period, found

    async def pay(self, who: str, which: int, tenths: int) -> None:
        """Pay a part of an invoice, or give back what was paid of it."""
        some = await self._some_invoice(who, which)
        if some is None:
            return
        for owed in some[1]["left"]:
            left, currency = Decimal(owed["amount"]), owed["currency"]
            unit = Decimal(1) if currency == "jpy" else Decimal("0.01")
            paid = (left * tenths / 10).quantize(unit)
            if paid > 0:
                body = {"amount": str(paid), "currency": currency, "key": self._key()}
                number = some[1]["number"]
                await self._post(f"/v1/invoices/{number}/payments", body)
                before = self.paid.get((who, currency), ZERO)
                self.paid[who, currency] = before + paid

    async def give(self, who: str, dollars: int) -> None:
        """Give a customer a credit."""
        self.was_given = True
        body = {"amount": str(dollars), "reason": "the model", "key": self._key()}
        await self._post(f"/v1/customers/{who}/credits", body | {"currency": "usd"})

    async def void_invoice(self, who: str, which: int) -> None:
        """Take an invoice back: its period is open again. What was paid comes first."""
        some = await self._some_invoice(who, which)
        if some is None:
            return
        period, found = some
        number = found["number"]
        paid: dict[str, Decimal] = {}
        for one in found["payments"]:
            before = paid.get(one["currency"], ZERO)
            paid[one["currency"]] = before + Decimal(one["amount"])
        for currency, amount in paid.items():
            if amount:
                body = {"amount": str(amount), "currency": currency, "key": self._key()}
                await self._post(f"/v1/invoices/{number}/refunds", body)
                self.paid[who, currency] -= amount
        await self._post(f"/v1/invoices/{number}/void", {"reason": "the model"})
        del self.finals[who, period]
        del self.known.closed[who, period], self.gross.closed[who, period]
        self.n_void += 1

    async def check_finals(self) -> None:
        """Check that what is final says what it said."""
        for (who, period), final in self.finals.items():
            assert bare(await self.invoice(who, period)) == final

    @property
    def is_known(self) -> bool:
        """Whether the reference knows what each invoice comes to.

        It does not know which final period has what a void invoice gives back of a
        credit or a coupon: that depends on which of them are rated again.
        """
        is_unsure = bool(self.n_void) and (self.has_grants or self.has_coupons)
        return not (is_unsure or self.was_given)

    async def check_owed(self) -> None:
        """Check that every call is paid for once: by finals, and by the next draft."""
        if self.n_void and self.has_coupons:
            return
        for who in WHO:
            await self._check_account(who)
            for name, start, _ in self.known.edges(who):
                edges = self.known.period(who, name)
                if start > self.now_ms or (who, name) in self.finals or edges is None:
                    continue
                draft = await self.invoice(who, name)
                if self.is_known:
                    wanted = self.known.owed(who, name, self.now_ms, keep=False)
                    assert_equal(draft, wanted)
                else:
                    self._check_gross(draft["invoice"], who, name)

    async def _check_account(self, who: str) -> None:
        """Check that documents come to all usage, less what credits paid of it."""
        account = await self.web.get(f"/v1/customers/{who}/statement")
        owed = {
            one["currency"]: Decimal(one["amount"])
            + self.paid.get((who, one["currency"]), ZERO)
            for one in account["balances"]
        }
        if self.is_known:
            assert _some(owed) == self.known.account(who)
        async with self.web.parts.database.reading() as tx:
            uses = [use for use in await uses_of(tx, who) if use.kind == "credit"]
        by_period: dict[tuple[str, str], Decimal] = {}
        for use in uses:
            amount = Decimal(use.amount)
            owed[use.currency] = owed.get(use.currency, ZERO) + amount
            key = (use.name, use.period)
            by_period[key] = by_period.get(key, ZERO) + amount
        assert _some(owed) == self.gross.account(who)
        for (_, period), used in by_period.items():
            # What was given back of a period whose invoice is void, it had not taken.
            assert used >= 0 or (who, period) not in self.finals
        granted = {g.name: g.amount for p in self.plans.values() for g in p.grants}
        for name, amount in granted.items():
            used_up = [used for (of, _), used in by_period.items() if of == name]
            assert sum(max(used, ZERO) for used in used_up) <= amount
        for one in (await self.web.get(f"/v1/customers/{who}/credits"))["credits"]:
            assert 0 <= Decimal(one["used"]) <= Decimal(one["amount"])

    def _check_gross(self, invoice: Any, who: str, name: str) -> None:
        """Check a draft's own lines, before credits."""
        wanted = self.gross.owed(who, name, self.now_ms, keep=False)
        paid = [one for one in invoice["lines"] if one["kind"] == "credit"]
        total = Decimal(invoice["total"]) - sum(Decimal(one["amount"]) for one in paid)
        assert (total, invoice["currency"]) == (wanted.total, wanted.currency)

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
        if Decimal(late["amount"])  # of 0: a credit paid all of it
    }
    said = Owed(Decimal(invoice["total"]), invoice["currency"], adjusted, due)
    assert said == wanted, (invoice["period"]["name"], said, wanted)


async def _awaited(work: Callable[[], Awaitable[object]]) -> None:
    await work()


def _some(amounts: dict[str, Decimal]) -> dict[str, Decimal]:
    return {currency: amount for currency, amount in amounts.items() if amount}


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
