"""A month's end that kills itself around a request to Stripe; run by ``test_month_kill``.

    python -m tests.fault.month_steps FOLDER BASE STRIDE FIRST

For every step, or every STRIDE-th from FIRST on, there is: a copy of a ledger before the
month's end, a sidecar that dies with SIGKILL before that step, and another that does the
rest. A step is the moment before a request, or after its answer. Prints a line for each,
until one outlives all its steps. Forks from one process that has imported everything.
"""

import asyncio
import os
import shutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from meterline_sidecar.clock import SystemClock, parse_time_ms
from meterline_sidecar.store import facts
from meterline_sidecar.stripe.invoicing import Invoicer
from meterline_sidecar.stripe.pacing import Backoff
from meterline_sidecar.stripe.transport import Transport
from tests.clock import FakeClock
from tests.fault.stripe_steps import Steps
from tests.web.conftest import Web, web_at
from tests.web.test_collection import TIERS
from tests.web.test_final import CALLS, Desk, customer

TOLD: Final = CALLS + 'bill_through = "meter"\n'
COLLECT: Final = (
    '[[collect]]\ncustomer = "acme"\ncollection_method = "send_invoice"\n'
    "days_until_due = 7\n"
)
BOLT_HOURS: Final = (3, 5, 7)
RUNS: Final = 6
"""So often everything is tried; each time, all that failed may go again."""


def files(base: str, name: str) -> dict[str, str]:
    """Return the configuration of one copy, whose customers are its own at Stripe."""
    who = customer(
        "acme", more=f'starts = 2026-11-01\nstripe_customer = "cus_{name}_a"'
    )
    who += customer("bolt", subjects="bolt_*", more=f'stripe_customer = "cus_{name}_b"')
    stripe = f'[stripe]\nmode = "send"\napi_base = "{base}"\napi_key_file = "key"\n'
    return {"meterline": TOLD + who + COLLECT + stripe, "pricing": TIERS}


def now() -> FakeClock:
    return FakeClock(parse_time_ms("2026-12-01T12:00:00Z"))


async def prepare(folder: Path, base: str) -> None:
    """Make a ledger with a month of which nobody was told."""
    folder.mkdir()
    (folder / "key").write_text("sk_test_meterline")
    async with web_at(folder, clock=now(), **files(base, "fresh")) as web:
        desk = Desk(web, folder)
        await web.parts.at_stripe.run()  # invoices are told from now on
        await desk.use("2026-11-10T00:00:00Z", 11)
        for hour, n in enumerate(BOLT_HOURS):
            await desk.use(f"2026-11-30T{20 + hour}:10:00Z", n, "bolt_1")


class Mortal:
    """Makes a process die before a step: around each request to Stripe."""

    def __init__(self, steps: Steps) -> None:
        self._request = Transport.request_async
        self._steps = steps

    def spread(self) -> None:
        """Have every request of this process pass its steps."""
        steps, request = self._steps, self._request

        async def mortal(
            self: Transport, *given: Any, **more: Any
        ) -> tuple[bytes, int, Mapping[str, str]]:
            steps.pass_one()
            answer = await request(self, *given, **more)
            steps.pass_one()
            return answer

        Transport.request_async = mortal  # type: ignore[method-assign]


async def month_end(web: Web, folder: Path) -> None:
    """Tell all, close, collect, credit, record a payment, and compare."""
    parts, desk = web.parts, Desk(web, folder)
    await parts.aggregator.run()
    await parts.stripe.report_now()
    await desk.close("2026-11")
    await tell(web)
    invoice = await web.get("/v1/invoices/INV-0001")
    if not invoice["credit_notes"]:
        body: dict[str, str] = {"amount": "0.50", "reason": "a test"}
        await post(web, "credit", body)
    await tell(web)
    left = (await web.get("/v1/invoices/INV-0001"))["left"]
    if left and left[0]["amount"] != "0.00":
        await post(web, "payments", {"amount": left[0]["amount"]})
    await tell(web)
    await parts.stripe.reconcile_if_due()


async def post(web: Web, step: str, body: Mapping[str, str]) -> None:
    answer = await web.http.post(f"/v1/invoices/INV-0001/{step}", json=body)
    assert answer.status_code == 200, answer.text


async def tell(web: Web) -> None:
    stripe, books = web.parts.stripe, web.parts.at_stripe
    await books.run()
    # What failed goes again at once, which it would in some seconds.
    await Invoicer(
        *(stripe.database, stripe.api, books),
        wall=SystemClock(),
        backoff=Backoff(first_s=0.0),
    ).run()


async def work(folder: Path, base: str, name: str, steps: Steps) -> None:
    """Do all of it, in a process that may die; check the ledger at its end."""
    async with web_at(folder, clock=now(), **files(base, name)) as web:
        async with web.parts.database.transaction() as tx:
            await facts.put_fact(tx, "stripe_install", name)
        Mortal(steps).spread()
        for _ in range(RUNS):
            await month_end(web, folder)
            if await is_done(web):
                break
        answer = await web.http.post("/v1/reconcile", params={"period": "2026-11"})
        assert answer.json()["is_equal"], answer.text


async def is_done(web: Web) -> bool:
    """Say whether Stripe has all of it; what failed goes again."""
    invoice = await web.get("/v1/invoices/INV-0001")
    calls = (await web.get("/v1/invoices/INV-0001/stripe"))["calls"]
    rows = (await web.get("/v1/outbox"))["rows"]
    states = {one["state"] for one in (*calls, *rows)}
    return invoice["state"] == "paid" and states == {"done", "confirmed"}


def forked(folder: Path, base: str, name: str, n_steps: int | None) -> int:
    """Work in a process of its own; return how it ended, as ``os.waitpid`` says."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(work(folder, base, name, Steps(n_steps)))
            code = 0
        except BaseException:  # noqa: BLE001 - said, and then it ends
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1]


def main() -> None:
    """Die before one step after the other."""
    folder, base = Path(sys.argv[1]), sys.argv[2]
    stride, n_steps = int(sys.argv[3]), int(sys.argv[4])
    fresh = folder / "fresh"
    asyncio.run(prepare(fresh, base))
    while True:
        name = f"k{n_steps}"
        shutil.copytree(fresh, folder / name)
        died = os.WIFSIGNALED(forked(folder / name, base, name, n_steps))
        again = forked(folder / name, base, name, None)
        sys.stdout.write(f"{name} {int(died)} {again}\n")
        sys.stdout.flush()
        shutil.rmtree(folder / name)
        if not died:
            return
        n_steps += stride


if __name__ == "__main__":
    main()
