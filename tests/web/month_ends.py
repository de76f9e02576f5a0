"""Plays what happens around the ends of months, line by line, and checks what is billed.

A story is a few lines of text, each a step: a word and what it is about, as a shell
would split it. After each step everything that was final before is still the same, byte
for byte, but for what a CSV says became of it since; at the end all of it is computed
again from the raw events.
"""

import csv
import io
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from meterline_sidecar.clock import parse_time_ms
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsRefused
from tests.clock import FakeClock
from tests.producer import event
from tests.web.again import computed_again
from tests.web.conftest import Web, configure, web_at

FIRST: Final = "2026-11-15T12:00Z"
"""When a story begins that does not say so."""
STATE: Final = frozenset({"invoice_state", "credit_notes"})
"""Columns of a CSV that say what became of a document since."""


METERS: Final = (
    '[billing]\nclose = "by_hand"\n'
    '[[meter]]\nname = "calls"\naggregation = "count"\nwhere = { status = "200" }\n'
    '[[meter]]\nname = "tokens"\naggregation = "sum"\nvalue = "quantities.tokens"\n'
    '[[meter]]\nname = "seats"\naggregation = "max"\nvalue = "quantities.seats"\n'
)


def customer(name: str = "acme", plan: str = "basic", *, more: str = "") -> str:
    """Return a customer whose subjects begin with their name."""
    return f'[[customer]]\nid = "{name}"\nsubjects = ["{name}_*"]\nplan = "{plan}"\n{more}\n'


def plan(
    *parts: str, name: str = "basic", currency: str = "usd", more: str = ""
) -> str:
    """Return a plan."""
    head = f'[[plan]]\nname = "{name}"\ncurrency = "{currency}"\n{more}\n'
    return head + "".join(parts)


def each(unit_amount: str, meter: str = "calls", more: str = "") -> str:
    """Return a price of each unit."""
    return (
        f'[[plan.price]]\nmeter = "{meter}"\nmodel = "per_unit"\n'
        f'unit_amount = "{unit_amount}"\n{more}\n'
    )


def fee(amount: str, name: str = "fee") -> str:
    """Return a fee."""
    return f'[[plan.price]]\nname = "{name}"\nmodel = "flat"\namount = "{amount}"\n'


def tax(percent: str, more: str = "") -> str:
    """Return a tax."""
    return f'[[plan.tax]]\nname = "VAT"\npercent = "{percent}"\n{more}\n'


def of(kind: str, *keys: str) -> str:
    """Return a table of a plan, such as a coupon."""
    return "\n".join((f"[[plan.{kind}]]", *keys, ""))


def tiers(first: str, then: str, more: str = "") -> str:
    """Return a price of calls with a first tier of a hundred."""
    return (
        '[[plan.price]]\nmeter = "calls"\nmodel = "graduated"\n'
        f'tiers = [{{ up_to = 100, unit_amount = "{first}" }}, {{ unit_amount = "{then}" }}]'
        f"\n{more}\n"
    )


class Story(NamedTuple):
    """What happens to a sidecar whose files say this."""

    title: str
    meterline: str
    pricing: str
    steps: str


async def play(story: Story, folder: Path) -> None:
    """Play a story to its end."""
    steps = [shlex.split(line, comments=True) for line in story.steps.splitlines()]
    steps = [step for step in steps if step]
    first = steps[0][1] if steps[0][0] == "at" else FIRST
    files = {"meterline": story.meterline, "pricing": story.pricing}
    async with web_at(folder, clock=FakeClock(at_ms(first)), **files) as web:
        books = Books(web, folder, files)
        for word, *about in steps:
            await books.steps[word](*about)
            await books.check_final()
        assert (await computed_again(web)).findings == []


def at_ms(text: str) -> int:
    """Return a time, UTC ms: ``2026-11-30``, ``2026-11-30T18:15Z``, or ``...-1ms``."""
    text, *before = text.split("-1ms")
    day, _, clock = text.removesuffix("Z").partition("T")
    return parse_time_ms(f"{day}T{clock or '00:00'}:00Z") - len(before)


class Books:
    """What a person does at a sidecar, and what they read there."""

    def __init__(self, web: Web, folder: Path, files: dict[str, str]) -> None:
        self._web = web
        self._folder = folder
        self._files = files
        self._final: dict[str, object] = {}
        self.steps: dict[str, Callable[..., Awaitable[None]]] = {
            "at": self.at,
            "use": self.use,
            "edit": self.edit,
            "on-purpose": self.on_purpose,
            "refused": self.refused,
            "close": self.close,
            "draft": self.draft,
            "void": self.void,
            "note": self.note,
            "credit": self.credit,
            "end-credit": self.end_credit,
            "move": self.move,
            "owes": self.owes,
        }

    async def at(self, time: str) -> None:
        """``at TIME``: it is that late."""
        self._web.clock.time_ms = at_ms(time)

    async def use(self, subject: str, n: str, time: str, *more: str) -> None:
        """``use SUBJECT N TIME [QUANTITY=VALUE ...]``: so many events arrive."""
        fields: dict[str, Any] = {"time_ms": at_ms(time), "subject": subject}
        quantities = dict(one.split("=") for one in more)
        if quantities:
            fields["quantities"] = {
                name: int(value) if value.isdigit() else value
                for name, value in quantities.items()
            }
        await self._web.ship(*(event(**fields) for _ in range(int(n))))

    async def edit(self, *texts: str) -> None:
        """``edit OLD NEW [OLD NEW ...]``: texts of the files, which are loaded."""
        await self._load(texts)

    async def on_purpose(self, *texts: str) -> None:
        """``on-purpose OLD NEW ...``: the same, also into what is final."""
        await self._load(texts, reason="it was promised")

    async def refused(self, *texts: str) -> None:
        """``refused OLD NEW ...``: an edit that is not loaded."""
        before = dict(self._files)
        try:
            await self._load(texts)
        except TermsRefused:
            self._files = before
        else:
            raise AssertionError(f"{texts} was loaded")

    async def _load(self, texts: tuple[str, ...], *, reason: str = "") -> None:
        for old, new in zip(texts[::2], texts[1::2], strict=True):
            old, new = (text.replace("\\n", "\n") for text in (old, new))
            (name,) = (name for name, text in self._files.items() if old in text)
            self._files[name] = self._files[name].replace(old, new)
        config = configure(self._folder, **self._files)
        wanted = wanted_of(config)
        await self._web.parts.terms.load(wanted, author="test", reason=reason)

    async def close(self, who: str, period: str, due: str, *adjusted: str) -> None:
        """``close WHO PERIOD DUE [PERIOD:AMOUNT ...]``: and what it adjusts."""
        path = f"/v1/customers/{who}/invoice/finalize"
        answer = await self._web.http.post(path, params={"period": period})
        self._check(answer, "final", due, *adjusted)

    async def draft(self, who: str, period: str, due: str, *adjusted: str) -> None:
        """``draft WHO PERIOD DUE [PERIOD:AMOUNT ...]``."""
        path = f"/v1/customers/{who}/invoice"
        answer = await self._web.http.get(path, params={"period": period})
        self._check(answer, "draft", due, *adjusted)

    @staticmethod
    def _check(answer: httpx.Response, *wanted: str) -> None:
        assert answer.status_code == 200, answer.text
        found = answer.json()
        adjusted = (f"{a['period']}:{a['amount']}" for a in found["adjustments"])
        lines = [line["explanation"] for line in found["invoice"]["lines"]]
        assert (found["status"], found["due"], *adjusted) == wanted, lines

    async def void(self, who: str, period: str) -> None:
        """``void WHO PERIOD``: its invoice is taken back."""
        await self._post(who, period, "void", {"reason": "the price was wrong"})

    async def note(self, who: str, period: str, amount: str) -> None:
        """``note WHO PERIOD AMOUNT``: a credit note to its invoice."""
        await self._post(who, period, "credit", {"amount": amount, "reason": "outage"})

    async def _post(self, who: str, period: str, what: str, body: object) -> None:
        query = {"customer": who, "kind": "invoice", "period": period}
        listed = (await self._web.get("/v1/invoices", **query))["documents"]
        (number,) = (one["number"] for one in listed if one["state"] != "void")
        answer = await self._web.http.post(f"/v1/invoices/{number}/{what}", json=body)
        assert answer.status_code == 200, answer.text

    async def credit(self, who: str, amount: str, *more: str) -> None:
        """``credit WHO AMOUNT [KEY=VALUE ...]``: money that they are given."""
        body = {"amount": amount, "reason": "outage"} | dict(
            one.split("=") for one in more
        )
        path = f"/v1/customers/{who}/credits"
        answer = await self._web.http.post(path, json=body)
        assert answer.status_code == 200, answer.text

    async def end_credit(self, who: str, credit: str) -> None:
        """``end-credit WHO CREDIT``: what is left of it was given back."""
        path = f"/v1/customers/{who}/credits/{credit}/end"
        answer = await self._web.http.post(path, params={"reason": "refunded"})
        assert answer.status_code == 200, answer.text

    async def move(self, subject: str, *events: str) -> None:
        """``move SUBJECT EVENT ...``: a correction says that they were of this one."""
        body = {
            "events": [int(one) for one in events],
            "set": {"subject": subject},
            "reason": "the wrong key",
        }
        answer = await self._web.http.post("/v1/corrections", json=body)
        assert answer.status_code == 200, answer.text
        await self._web.parts.aggregator.run()

    async def owes(self, who: str, *amounts: str) -> None:
        """``owes WHO CURRENCY=AMOUNT ...``: by all documents."""
        found = (await self._web.get(f"/v1/customers/{who}/statement"))["balances"]
        assert [f"{one['currency']}={one['amount']}" for one in found] == [*amounts]

    async def check_final(self) -> None:
        """Check that whatever was final is as it was, in the ledger and as a file."""
        async with self._web.parts.database.reading() as tx:
            rows = await tx.fetch_all("SELECT id, document FROM invoices ORDER BY id")
        listed = (await self._web.get("/v1/invoices", limit=100))["documents"]
        known: dict[str, object] = {str(row[0]): str(row[1]) for row in rows}
        for one in listed:
            path = f"/v1/invoices/{one['number']}.csv"
            text = (await self._web.http.get(path)).text
            known[one["number"]] = _without_state(text)
        for name, was in self._final.items():
            assert known[name] == was, f"{name} is other than it was"
        self._final = known


def _without_state(text: str) -> list[dict[str, str]]:
    """Return the rows of a document without what became of it, as may be any day."""
    rows = list(csv.DictReader(io.StringIO(text)))
    assert all({*row} >= STATE for row in rows)
    return [{k: v for k, v in row.items() if k not in STATE} for row in rows]
