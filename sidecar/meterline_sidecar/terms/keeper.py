"""Keeps the terms of a running sidecar: loads files, takes changes, tells who listens."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Final

from msgspec.structs import replace

from meterline_sidecar.clock import DAY_MS, Clock
from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.store import generations, invoices, usage
from meterline_sidecar.store.edge import erase as erasures
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.terms import Source
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.change import CustomerChange
from meterline_sidecar.terms.diff import Diff, Differ, Wanted
from meterline_sidecar.terms.moved import check_found, check_terms
from meterline_sidecar.terms.owners import WantedCustomer
from meterline_sidecar.terms.record import Journal, Planned, record
from meterline_sidecar.terms.recount import recount
from meterline_sidecar.terms.settle import settle_owners

STRIPE_TAKES_MS: Final = 34 * DAY_MS
"""How far back Stripe still hears of a subject that moved."""
ROWS_PER_TRANSACTION: Final = 500
"""Written at once, all or none: some 20 ms."""

OnChange = Callable[[Terms], Awaitable[None]]


class TermsRefused(MeterlineError):
    """What was asked for would change what must stay; the text says what to do."""


class TermsKeeper:
    """The one place that writes terms, and that knows them all.

    ``terms`` only grows: whoever holds it sees what comes.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        *,
        clock: Clock,
        terms: Terms | None = None,
    ) -> None:
        self.terms = Terms() if terms is None else terms
        self._database = database
        self._journal = journal
        self._clock = clock
        self._writing = asyncio.Lock()
        self._told_row = 0
        """Up to which row of terms those who listen were told."""
        self._erasure_id = 0
        self._listeners: list[OnChange] = []

    def on_change(self, listener: OnChange) -> None:
        """Have ``listener`` called after each change, once it is on disk."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Read what the ledger knows, and finish what a crash cut off."""
        async with self._database.reading() as tx:
            self._erasure_id = await erasures.newest_id(tx)
            await self.terms.catch_up(tx)
        self._told_row = self.terms.row_id
        await self._settle()

    async def follow_ledger(self) -> None:
        """Take in what others have agreed to since, and tell those who listen."""
        async with self._changing():
            if self.terms.row_id != self._told_row:
                await self._tell()

    async def lead(self) -> None:
        """Finish what another one that agreed to something may have left undone."""
        await self.follow_ledger()
        await self._settle()

    @contextlib.asynccontextmanager
    async def _changing(self) -> AsyncGenerator[None]:
        """Let nobody else here change anything meanwhile; know all that others did."""
        async with self._writing:
            if self._database.others_write:
                async with self._database.reading() as tx:
                    erasure_id = await erasures.newest_id(tx)
                    if erasure_id != self._erasure_id:
                        await self.terms.read_again(tx)
                        self._erasure_id = erasure_id
                    else:
                        await self.terms.catch_up(tx)
            yield

    async def _tell(self) -> None:
        self._told_row = self.terms.row_id
        for listener in self._listeners:
            await listener(self.terms)

    async def preview(self, wanted: Wanted, *, reason: str = "") -> Diff:
        """Return what loading these files would change; change nothing."""
        async with self._changing():
            return await self._files(wanted, reason)

    async def load(self, wanted: Wanted, *, author: str, reason: str = "") -> Diff:
        """Agree to what the files say.

        Args:
            author: who loads them.
            reason: why they may reach into what is final; empty where they may not.

        Raises:
            TermsRefused: something must not be; nothing was changed.
        """
        async with self._changing():
            diff = await self._files(wanted, reason)
            return await self._write(diff, "file", author)

    async def agree(self, diff: Diff, *, author: str) -> Diff:
        """Agree to what a preview of the files has found, where nobody else writes.

        Raises:
            TermsRefused: something must not be; nothing was changed.
        """
        async with self._changing():
            return await self._write(diff, "file", author)

    async def change_customer(
        self, wanted: WantedCustomer, *, author: str, must_be_new: bool = False
    ) -> Diff:
        """Agree to something with one customer, who may be new.

        Raises:
            TermsRefused: the files look after this customer, another one has one of
                the subjects, or something final would be reached.
        """
        async with self._changing():
            if must_be_new and self.terms.entries("customer", wanted.id):
                raise TermsRefused(
                    f"customer {wanted.id} is there already; nothing was changed"
                )
            return await self._write(await self.preview_customer(wanted), "api", author)

    async def preview_customer(self, wanted: WantedCustomer) -> Diff:
        """Return what would be agreed to by that; change nothing."""
        async with self._database.reading() as tx:
            # A date may reach into what others who pay have in final periods.
            finals = (
                {wanted.id: await invoices.final_end(tx, wanted.id)}
                if wanted.from_day is None
                else await invoices.final_ends(tx)
            )
            last_invoice = await invoices.newest_invoice(tx)
        differ = self._with_finals("api", "", finals)
        differ.customer(wanted)
        return replace(differ.result(), found_from=(self.terms.row_id, last_invoice))

    async def recount_meter(
        self, name: str, *, from_ms: int, author: str, reason: str
    ) -> Diff:
        """Agree that a meter measured from a time on what it measures now.

        Raises:
            TermsRefused: there is no such meter, or something final would be reached
                and nobody said why.
        """
        async with self._changing():
            diff = await self.preview_recount(name, from_ms=from_ms, reason=reason)
            return await self._write(diff, "api", author)

    async def preview_recount(
        self, name: str, *, from_ms: int, reason: str = ""
    ) -> Diff:
        """Return what would be agreed to by that; change nothing."""
        async with self._database.reading() as tx:
            final_ms = await invoices.newest_final_end(tx)
            last_invoice = await invoices.newest_invoice(tx)
        diff = recount(
            self.terms,
            name,
            from_ms=from_ms,
            now_ms=self._clock.now_ms(),
            final_ms=final_ms,
            reason=reason,
        )
        return replace(diff, found_from=(self.terms.row_id, last_invoice))

    async def give_up_recount(self, *, author: str, reason: str) -> None:
        """Let what counts again beside the usage that is read count no more.

        What was counted stays, and what was agreed holds for what is counted from now
        on.

        Raises:
            TermsRefused: nothing is counted again.
        """
        async with self._changing():
            async with self._database.transaction() as tx:
                served = await usage.newest_generation(tx)
                beside = served and await usage.generation_beside(tx, served.id)
                if beside is None:
                    raise TermsRefused(
                        "nothing is being counted again; what is complete stays, and"
                        " another count can be begun"
                    )
                row_id = await generations.end_generation(
                    tx,
                    beside.id,
                    ended_ms=self._clock.now_ms(),
                    author=author,
                    reason=reason,
                )
                await self._journal.link_all(tx, "generation_ends", [row_id])
            await self._tell()

    async def sign_up(self, wanted: Sequence[WantedCustomer], *, author: str) -> None:
        """Agree with customers who are all new, in one step.

        Those who are there by now, and whose subject has a payer by now, are left out.
        """
        async with self._changing():
            now_ms = self._clock.now_ms()
            differ = self._with_finals("api", "", {})
            for one in wanted:
                taken = any(
                    self.terms.claims.is_taken(subject, now_ms)
                    for subject in one.fields["subjects"]
                )
                if not taken and not self.terms.entries("customer", one.id):
                    differ.customer(one)
            diff = differ.result()
            await self._write(replace(diff, refused=()), "api", author)

    @contextlib.asynccontextmanager
    async def unchanged(self) -> AsyncGenerator[None]:
        """Keep what is agreed as it is for a moment, for who reads it in a thread."""
        async with self._changing():
            yield

    async def adopt(self, customer_id: str, source: Source, *, author: str) -> None:
        """Let the files, or the API, look after a customer from now on."""
        async with self._changing():
            change = CustomerChange()
            planned = Planned(customer_id, change, self._clock.now_ms())
            await self._write(Diff(planned=(planned,)), source, author)

    async def _files(self, wanted: Wanted, reason: str) -> Diff:
        async with self._database.reading() as tx:
            finals = await invoices.final_ends(tx)
            last_invoice = await invoices.newest_invoice(tx)
        differ = self._with_finals("file", reason, finals)
        # In a thread: to compare very many customers takes longer than an ack may
        # wait. Nobody writes terms meanwhile.
        diff = await asyncio.to_thread(differ.files, wanted)
        return replace(diff, found_from=(self.terms.row_id, last_invoice))

    def _with_finals(
        self, source: Source, reason: str, finals: Mapping[str, int]
    ) -> Differ:
        return Differ(
            self.terms,
            now_ms=self._clock.now_ms(),
            finals=finals,
            source=source,
            reason=reason,
        )

    async def _write(self, diff: Diff, source: Source, author: str) -> Diff:
        if diff.refused:
            raise TermsRefused("\n".join(diff.refused))
        if diff.planned:
            # In steps, so that no ack waits for very many rows. Where a crash comes
            # between two, the next start finds what is missing: the files say it.
            for i in range(0, len(diff.planned), ROWS_PER_TRANSACTION):
                async with self._database.transaction() as tx:
                    await check_terms(self._database, tx, self.terms)
                    if i == 0:
                        await check_found(self._database, tx, diff.found_from)
                    rows = await record(
                        tx,
                        diff.planned[i : i + ROWS_PER_TRANSACTION],
                        journal=self._journal,
                        now_ms=diff.at_ms,
                        source=source,
                        author=author,
                    )
                self.terms.learn(rows)
            await self._settle()
            await self._tell()
        return diff

    async def _settle(self) -> None:
        since_ms = self._clock.now_ms() - STRIPE_TAKES_MS
        await settle_owners(self._database, self.terms, since_ms=since_ms)
