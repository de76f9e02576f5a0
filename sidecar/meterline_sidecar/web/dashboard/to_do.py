"""What is wrong as pages show it: each problem a link to where it can be looked at."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

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
    "sign_up_unfit": "/usage",
    "alert_of_nobody": "/alerts",
    "filter_never_matches": "/usage",
    "value_not_priced": "/pricing",
    "meter_not_priced": "/pricing",
    "no_draft": "/customers",
    "no_plan": "/customers",
    "removed_not_billed": "/customers",
    "removed_open": "/customers",
    "import_waits": "/imports",
    "import_stuck": "/imports",
    "late_usage_waits": "/late",
    "edge_refused": "/edges",
    "edge_silent": "/edges",
    "edge_clock": "/edges",
    "not_forwarded": "/edges",
    "period_held": "/close",
    "period_not_closed": "/close",
    "stripe_not_sending": "/outbox",
    "stripe_meter": "/outbox",
    "stripe_differs": "/outbox",
    "stripe_dropped": "/outbox",
    "stripe_by_hand": "/outbox",
    "stripe_invoice_held": "/close",
    "stripe_invoice_waiting": "/close",
    "stripe_invoice_differs": "/close",
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


class ShownProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem for a page."""

    code: Code
    severity: Severity
    text: str
    action: str
    href: str


def shown(problems: Iterable[Found]) -> list[ShownProblem]:
    """Return problems as a page shows them, in their order."""
    return [
        ShownProblem(
            code=problem.code,
            severity=problem.severity,
            text=problem.text,
            action=problem.action,
            href=PAGES.get(problem.code, ELSEWHERE),
        )
        for problem in problems
    ]
