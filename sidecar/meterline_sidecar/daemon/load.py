"""Loads the files into a ledger that no sidecar has open, under the same lock."""

from meterline_sidecar.billing.consequences import of_terms
from meterline_sidecar.clock import Clock
from meterline_sidecar.config.shape import Config
from meterline_sidecar.daemon.assemble import open_journal
from meterline_sidecar.daemon.reload import AUTHOR
from meterline_sidecar.daemon.run import database_lock
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.ledger.chain import ChainFiles
from meterline_sidecar.store.open import open_ledger
from meterline_sidecar.terms.book import Terms
from meterline_sidecar.terms.files import wanted_of
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.web.answers.reload import Reloaded
from meterline_sidecar.web.money import shown_money


class LedgerClock:
    """The time of a clock, or that of the ledger where a rehearsal is ahead of it."""

    def __init__(self, clock: Clock, terms: Terms) -> None:
        self._clock = clock
        self._terms = terms
        self.rehearsal: str | None = clock.rehearsal

    def now_ms(self) -> int:
        """Return the time in UTC milliseconds."""
        return max(self._clock.now_ms(), self._terms.learned_until_ms)


async def load_stopped(config: Config, *, reason: str, clock: Clock) -> Reloaded:
    """Agree to what the files say, also where it reaches into final periods.

    The next start finds it agreed to, and counts and rates by it.

    Args:
        reason: why it may reach into them.
        clock: when this is agreed, unless the ledger is ahead of it.

    Raises:
        AlreadyRunning: a sidecar has the ledger open.
        ConfigError: there is no ledger yet: what the files say holds from its start.
        TermsRefused: something must not be, reason or not; nothing was changed.
    """
    path = config.sidecar.database
    if not config.has_ledger:
        raise ConfigError(
            f"there is no ledger at {config.ledger}, so nothing is final: start the"
            " sidecar"
        )
    with database_lock(config):
        database = await open_ledger(config.ledger)
        try:
            journal = await open_journal(database, ChainFiles(path))
            terms = Terms()
            keeper = TermsKeeper(
                database, journal, clock=LedgerClock(clock, terms), terms=terms
            )
            await keeper.start()
            diff = await keeper.preview(wanted_of(config), reason=reason)
            money = await of_terms(database, terms, diff)
            await keeper.agree(diff, author=AUTHOR)
            await database.checkpoint()
        finally:
            await database.close()
    return Reloaded(changes=diff.told, needs_restart=(), money=shown_money(money))
