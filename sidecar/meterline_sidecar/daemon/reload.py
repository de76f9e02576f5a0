"""Reads the files again while the sidecar runs, and has every part follow."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec.structs import asdict, replace

from meterline_sidecar.billing.consequences import of_terms
from meterline_sidecar.config.alike import differing, digests
from meterline_sidecar.config.apart import read_files
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon.memory import give_back
from meterline_sidecar.errors import ConfigError, NotTheLeader
from meterline_sidecar.fleet.leading import Leading
from meterline_sidecar.store.port import Readable
from meterline_sidecar.terms.diff import Diff
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsKeeper, TermsRefused
from meterline_sidecar.web.answers.reload import Reloaded
from meterline_sidecar.web.money import shown_money

ONLY_AT_START: Final = (
    "sidecar",
    "centre",
    "properties",
    "stripe",
    "portal",
    "retention",
    "archive",
    "alerts",
)
"""The tables that hold from the next start on."""
AUTHOR: Final = "files"
LINES_MAX: Final = 1_000
"""Changes that are logged one by one: others wait while lines are written."""

log = logging.getLogger(__name__)

OnConfig = Callable[[Config], None]


class LoadedFiles:
    """What the files say, as far as it holds.

    Args:
        config: what they said at the start.
        leading: whose files hold, where several share a ledger.
    """

    def __init__(
        self,
        config: Config,
        keeper: TermsKeeper,
        database: Readable,
        leading: Leading,
    ) -> None:
        self.config = config.with_customers(())
        self._leading = leading
        self.unlike: tuple[str, ...] = ()
        """What they say and does not hold, in words: nobody has loaded it."""
        self._database = database
        self._keeper = keeper
        self._reading = asyncio.Lock()
        self._listeners: list[OnConfig] = []

    def on_config(self, listener: OnConfig) -> None:
        """Have ``listener`` called with what the files say after each reload."""
        self._listeners.append(listener)

    async def reload(self, *, author: str = AUTHOR, reason: str = "") -> Reloaded:
        """Read the files again.

        Args:
            author: who asked.
            reason: why they may reach into what is final; empty where they may not.

        Raises:
            ConfigError: they have mistakes; nothing was changed.
            TermsRefused: something must not be; nothing was changed.
            NotTheLeader: they are not those of the centre that leads, which hold.
        """
        async with self._reading:
            found = await asyncio.to_thread(read_files, self.config.file)
            if not self._leading.is_leader:
                return await self._follow(found)
            reloaded = await self._load(found, author=author, reason=reason)
        del found
        await asyncio.to_thread(give_back)
        return reloaded

    async def look(self) -> None:
        """See what the files say and does not hold, as this process begins to lead.

        It is not loaded: by two files that differ, what is agreed would change with each
        election.
        """
        async with self._reading:
            try:
                found = await asyncio.to_thread(read_files, self.config.file)
            except ConfigError as error:
                self.unlike = tuple(str(error).splitlines())
            else:
                diff = await self._keeper.preview(wanted_of(found))
                self.unlike = (*diff.told, *diff.refused)
        for text in self.unlike[:LINES_MAX]:
            log.warning("the files say this, but it does not apply: %s", text)

    async def _follow(self, found: Config) -> Reloaded:
        """Go by the files as far as they are those of the one that leads."""
        needs_restart = tuple(_restarting(self.config, found))
        self._use(found)
        turn = self._leading.turn
        unlike = () if turn is None else differing(digests(found), turn.files)
        if unlike:
            raise NotTheLeader(
                f"this centre's files say something else in {', '.join(unlike)} than"
                f" those of the leader, which apply: {self._leading.who()}"
            )
        nothing = await of_terms(self._database, self._keeper.terms, Diff())
        return Reloaded(
            changes=(), needs_restart=needs_restart, money=shown_money(nothing)
        )

    async def preview(self, *, reason: str = "") -> Reloaded:
        """Return what reading the files again would change; change nothing.

        Raises:
            ConfigError: they have mistakes.
            TermsRefused: something must not be.
        """
        found = await asyncio.to_thread(read_files, self.config.file)
        diff = await self._keeper.preview(wanted_of(found), reason=reason)
        if diff.refused:
            raise TermsRefused("\n".join(diff.refused))
        return Reloaded(
            changes=diff.told,
            needs_restart=tuple(_restarting(self.config, found)),
            money=shown_money(await of_terms(self._database, self._keeper.terms, diff)),
        )

    async def adopt(self, customer_id: str, *, author: str) -> tuple[str, ...]:
        """Let the files look after a customer; return what changes by what they say.

        Raises:
            ConfigError: they have mistakes; nothing was changed.
            TermsRefused: they do not name the customer, or say what must not be.
        """
        with self._leading.as_leader():
            return await self._adopt(customer_id, author)

    async def _adopt(self, customer_id: str, author: str) -> tuple[str, ...]:
        async with self._reading:
            found = await asyncio.to_thread(read_files, self.config.file)
            if found.customer(customer_id) is None:
                raise TermsRefused(
                    f"customer {customer_id}: the files do not name this customer; add"
                    f' [[customer]] with id = "{customer_id}" first'
                )
            await self._keeper.adopt(customer_id, "file", author=author)
            return (await self._load(found, author=author, reason="")).changes

    async def _load(self, found: Config, *, author: str, reason: str) -> Reloaded:
        wanted = wanted_of(found)
        # Asked first: afterwards nothing says any more what periods came to before.
        expected = await self._keeper.preview(wanted, reason=reason)
        money = await of_terms(self._database, self._keeper.terms, expected)
        diff = await self._keeper.load(wanted, author=author, reason=reason)
        needs_restart = tuple(_restarting(self.config, found))
        self._use(found)
        self.unlike = ()
        log_agreed(diff.told, tuple(money.lines()))
        return Reloaded(
            changes=diff.told, needs_restart=needs_restart, money=shown_money(money)
        )

    def _use(self, found: Config) -> None:
        """Have every part go by what the files say, as far as it needs no restart."""
        sidecar = replace(self.config.sidecar, pricing=found.sidecar.pricing)
        kept = {table: getattr(self.config, table) for table in ONLY_AT_START}
        self.config = replace(found, **{**kept, "sidecar": sidecar, "customers": ()})
        self._leading.me = self._leading.me._replace(files=digests(found))
        for listener in self._listeners:
            listener(self.config)


def log_agreed(changes: Sequence[str], money: Sequence[str]) -> None:
    """Log what was agreed to, line by line, and the number of further changes."""
    for text in changes[:LINES_MAX]:
        log.info("agreed: %s", text)
    if len(changes) > LINES_MAX:
        log.info("agreed: %d more changes", len(changes) - LINES_MAX)
    for text in money:
        log.info("agreed: %s", text)


def _restarting(before: Config, after: Config) -> Iterator[str]:
    """Yield the keys that hold only from the next start on."""
    for table in ONLY_AT_START:
        said = asdict(getattr(after, table))
        for key, value in asdict(getattr(before, table)).items():
            if said[key] != value and (table, key) != ("sidecar", "pricing"):
                yield f"{table}.{key}"
