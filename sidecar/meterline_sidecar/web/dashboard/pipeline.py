"""Life of an event as a strip of stages: counts, ages, and what is wrong in words."""

from collections.abc import Iterable
from typing import Literal

import msgspec
from markupsafe import Markup

from meterline_sidecar.clock import MINUTE_MS
from meterline_sidecar.problems.problem import n_of
from meterline_sidecar.stripe.states import ON_THE_WAY, PROBLEMS
from meterline_sidecar.web.answers.status import Status
from meterline_sidecar.web.view.render import age, compact, number, size

Health = Literal["good", "idle", "warn", "bad"]
WORDS: dict[Health, str] = {
    "good": "fine",
    "idle": "nothing to do",
    "warn": "look at this",
    "bad": "broken",
}


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of the strip."""

    name: str
    title: str
    """What the number counts."""
    value: str
    detail: str | Markup
    health: Health
    href: str

    @property
    def health_words(self) -> str:
        """The health for those who do not see its colour."""
        return WORDS[self.health]


def stages(state: Status, *, is_dry_run: bool) -> Iterable[Stage]:
    """Yield the stages, in the order that an event meets them."""
    yield _apps(state)
    yield _socket(state)
    yield _database(state)
    yield _usage(state)
    yield _outbox(state)
    yield _stripe(state, is_dry_run)


def _apps(state: Status) -> Stage:
    producers = state.producers
    health: Health = "good"
    last = Markup("last event {}").format(age(state.last_event_ms, state.now_ms))
    detail: str | Markup = last
    if state.events.lost:
        health, detail = "warn", f"{n_of(state.events.lost, 'event')} lost"
    elif not producers.open + producers.closed:
        health, detail = "idle", "no app has connected yet"
    elif not producers.connected:
        health, detail = "idle", Markup("none connected, {}").format(last)
    return Stage(
        name="Apps",
        title="worker connected" if producers.connected == 1 else "workers connected",
        value=number(producers.connected),
        detail=detail,
        health=health,
        href="/#workers",
    )


def _socket(state: Status) -> Stage:
    waiting = max(0, state.events.in_flight)
    refused = sum(state.refusals.values())
    detail = "nothing waiting" if not waiting else "recorded, not stored yet"
    if refused:
        detail = f"{n_of(refused, 'connection')} refused"
    return Stage(
        name="Socket",
        title="events on their way",
        value=compact(waiting),
        detail=detail,
        health="warn" if refused else "good" if waiting else "idle",
        href="/status",
    )


def _database(state: Status) -> Stage:
    return Stage(
        name="Database",
        title="events stored",
        value=compact(state.events.ingested),
        detail=(
            f"{size(state.database.bytes)}, {size(state.database.disk_free_bytes)} free"
            if state.ready
            else "events cannot be stored"
        ),
        health="good" if state.ready else "bad",
        href="/events",
    )


def _usage(state: Status) -> Stage:
    behind = state.aggregation.behind_events
    done_ms = state.aggregation.last_success_ms
    is_late = done_ms is None or state.now_ms - done_ms > MINUTE_MS
    return Stage(
        name="Usage",
        title="events not added up",
        value=compact(behind),
        detail=Markup("added up {}").format(age(done_ms, state.now_ms)),
        health="bad" if is_late and behind else "good",
        href="/usage",
    )


def _outbox(state: Status) -> Stage:
    stuck = {
        name: n_rows
        for name, n_rows in state.outbox.items()
        if n_rows and name in PROBLEMS
    }
    waiting = sum(state.outbox.get(name, 0) for name in ON_THE_WAY)
    detail = ", ".join(f"{number(n)} {name}" for name, n in stuck.items())
    return Stage(
        name="Outbox",
        title="to be reported",
        value=compact(waiting),
        detail=detail or ("waiting to be sent" if waiting else "nothing waiting"),
        health="warn" if stuck else "good" if waiting else "idle",
        href="/outbox",
    )


def _stripe(state: Status, is_dry_run: bool) -> Stage:
    job = next((job for job in state.schedule if job.job == "report"), None)
    health: Health = "good" if job is not None and not job.failures else "warn"
    detail: str | Markup = _last_report(state)
    if is_dry_run:
        health, detail = "idle", "dry run: nothing is sent"
    return Stage(
        name="Stripe",
        title="reports confirmed",
        value=compact(state.outbox.get("confirmed", 0)),
        detail=detail,
        health=health,
        href="/outbox?state=confirmed",
    )


def _last_report(state: Status) -> Markup:
    """Say when Stripe confirmed a report last: a run that sends nothing is none."""
    if state.last_confirmed_ms is None:
        return Markup("nothing confirmed yet")
    return Markup("last one {}").format(age(state.last_confirmed_ms, state.now_ms))
