"""Makes customers of those who sign up: subjects that nobody pays for, by rules."""

import logging
from collections.abc import Iterator, Mapping
from typing import Final

from meterline_sidecar.clock import Clock
from meterline_sidecar.config.kinds import CUSTOMER_ID
from meterline_sidecar.problems.catalogue import found
from meterline_sidecar.problems.problem import Found, n_of, such_as
from meterline_sidecar.store import terms as store
from meterline_sidecar.store.port import Database
from meterline_sidecar.store.terms import Kind
from meterline_sidecar.terms.claims import MARK
from meterline_sidecar.terms.keeper import TermsKeeper
from meterline_sidecar.terms.owners import WantedCustomer

EVERY_S: Final = 1
SUBJECTS_PER_STEP: Final = 5_000
CUSTOMERS_PER_STEP: Final = 500
"""Made in one transaction: whoever ingests waits for it."""
NAMES_SHOWN: Final = 5
NAME_CHARS: Final = 60
AUTHOR: Final = "customer_rule"

log = logging.getLogger(__name__)


class SignUps:
    """Looks at subjects that are new, and makes those customers that a rule is for.

    A customer is made once. It is looked after by the API: the files do not name it.
    """

    def __init__(
        self, database: Database, keeper: TermsKeeper, *, clock: Clock
    ) -> None:
        self._database = database
        self._keeper = keeper
        self._clock = clock
        self._terms_row = -1
        self._subject_id = 0
        self._n_unfit = 0
        self._unfit: list[str] = []
        """Subjects that a rule is for, and whose name can be no customer's id."""

    def problems(self) -> Iterator[Found]:
        """Yield who could not become a customer."""
        if self._n_unfit:
            shown = such_as(self._unfit, n_all=self._n_unfit)
            yield found(
                "sign_up_unfit",
                f"{n_of(self._n_unfit, 'subject')} cannot become customers: {shown}",
            )

    async def run(self) -> None:
        """Look at everybody who came since; all over again where a rule may be for more."""
        terms = self._keeper.terms
        rules = terms.rules(self._clock.now_ms())
        learned = terms.learned_after(self._terms_row)
        is_again = self._n_unfit and terms.row_id > self._terms_row
        if is_again or any(self._may_free(kind, name) for kind, name in learned):
            self._subject_id = 0
            self._n_unfit, self._unfit = 0, []
        self._terms_row = terms.row_id
        while rules:
            async with self._database.reading() as tx:
                subjects = await store.subjects_of_nobody(
                    tx, after_id=self._subject_id, limit=SUBJECTS_PER_STEP
                )
            if not subjects:
                return
            await self._sign_up([name for _, name in subjects], rules)
            self._subject_id = subjects[-1][0]

    def _may_free(self, kind: Kind, name: str) -> bool:
        """Say whether there may be more subjects of nobody that a rule is for.

        Whoever is new takes subjects and gives none up; who signs up does so.
        """
        if kind != "customer":
            return kind == "rule"
        first = self._keeper.terms.entries(kind, name)[0]
        return first.row_id <= self._terms_row

    async def _sign_up(self, names: list[str], rules: Mapping[str, str]) -> None:
        lengths = sorted({len(pattern) - 1 for pattern in rules}, reverse=True)
        wanted: list[WantedCustomer] = []
        for name in names:
            plan = _plan(name, rules, lengths)
            if plan is None or self._keeper.terms.entries("customer", name):
                continue
            if not CUSTOMER_ID.fullmatch(name):
                self._n_unfit += 1
                if len(self._unfit) < NAMES_SHOWN:
                    self._unfit.append(f"`{name:.{NAME_CHARS}}`")
                continue
            fields = {"name": name, "plan": plan, "subjects": (name,)}
            wanted.append(WantedCustomer(id=name, fields=fields))
        for i in range(0, len(wanted), CUSTOMERS_PER_STEP):
            step = wanted[i : i + CUSTOMERS_PER_STEP]
            await self._keeper.sign_up(step, author=AUTHOR)
            log.info("%s signed up", n_of(len(step), "new customer"))


def _plan(subject: str, rules: Mapping[str, str], lengths: list[int]) -> str | None:
    """Return the plan of the longest pattern that a subject matches, if one does."""
    for length in lengths:
        if length <= len(subject):
            plan = rules.get(subject[:length] + MARK)
            if plan is not None:
                return plan
    return None
