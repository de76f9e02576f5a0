"""What is wrong as pages show it: each problem a link to where it can be looked at."""

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from markupsafe import Markup, escape

from meterline_sidecar.problems.problem import Code, Found, Severity

PAGES: Final[Mapping[Code, str]] = {
    "events_not_stored": "/status",
    "events_lost": "/#workers",
    "events_refused": "/#workers",
    "events_missing": "/#workers",
    "events_held": "/events",
    "events_in_memory": "/#workers",
    "quantity_not_taken": "/events",
    "clock_behind_events": "/events",
    "usage_unassigned": "/usage",
    "subject_claimed_twice": "/customers",
    "subject_never_matches": "/customers",
    "filter_never_matches": "/usage",
    "value_not_priced": "/pricing",
    "meter_not_priced": "/pricing",
    "no_draft": "/customers",
    "no_plan": "/customers",
    "removed_not_billed": "/customers",
    "period_not_closed": "/customers",
    "stripe_not_sending": "/outbox",
    "stripe_meter": "/outbox",
    "stripe_differs": "/outbox",
    "stripe_dropped": "/outbox",
    "stripe_by_hand": "/outbox",
    "stripe_copy": "/outbox?state=unresolved",
    "outbox_failing": "/outbox?state=pending",
    "outbox_unresolved": "/outbox?state=unresolved",
    "outbox_parked": "/outbox?state=parked",
    "outbox_dead": "/outbox?state=dead",
    "outbox_expired": "/outbox?state=expired",
    "outbox_rejected": "/outbox?state=rejected",
}
"""Where a problem can be looked at; else ``/status`` has all there is to see."""
ELSEWHERE: Final = "/status"
_CODE: Final = re.compile(r"`([^`]+)`")


class ShownProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem for a page."""

    code: Code
    severity: Severity
    text: Markup
    action: Markup
    href: str


def shown(problems: Iterable[Found]) -> list[ShownProblem]:
    """Return problems as a page shows them, in their order."""
    return [
        ShownProblem(
            code=problem.code,
            severity=problem.severity,
            text=in_code(problem.text),
            action=in_code(problem.action),
            href=PAGES.get(problem.code, ELSEWHERE),
        )
        for problem in problems
    ]


def in_code(text: str) -> Markup:
    """Return a text with what stands in backticks set as code; the rest is escaped."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped
