"""``POST /v1/events``: events of whatever is not Python, each with a verdict of its own."""

import asyncio
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from meterline_sidecar.access.tokens import Token
from meterline_sidecar.errors import RetryLater
from meterline_sidecar.ingest.external import NewEvent, Taken
from meterline_sidecar.web.answers.external import EventsAnswer, EventVerdict
from meterline_sidecar.web.api.external_body import (
    BATCH_EVENTS_MAX,
    Read,
    read_at_once,
    read_events,
    read_one_by_one,
)
from meterline_sidecar.web.api.external_forms import (
    BATCH_TYPE,
    CLOUD_TYPE,
    JSON_TYPE,
    Form,
    Refused,
    Sending,
    Unreadable,
    form_of,
)
from meterline_sidecar.web.api.external_shapes import CloudEvent, PlainEvent
from meterline_sidecar.web.operations import Body, Described
from meterline_sidecar.web.parts import Parts
from meterline_sidecar.web.problems import answer, problem
from meterline_sidecar.web.rights import EVENTS_PATH

AT_ONCE_BYTES_MAX: Final = 32 << 10
"""Of a body that is read on the event loop. A hundred usual events take 2 ms there, and a
thousand tiny ones 10; in a thread they would take more of the interpreter, which those who
wait need as well."""
HELD_BYTES_MAX: Final = 16 << 20
"""Of bodies, from their first byte until they are answered; read, they take ten times as
much. At 250 bytes an event it is room for 67,000."""


class Intake:
    """Takes events over HTTP, and knows how much of them is in memory."""

    def __init__(self) -> None:
        self._held_bytes = 0

    @property
    def route(self) -> Route:
        """The route that takes them."""
        return Route(EVENTS_PATH, self._respond, methods=["POST"])

    async def _respond(self, request: Request) -> Response:
        if request.query_params:
            return problem(400, "this has no parameters: all of it stands in the body")
        chunks: list[bytes] = []
        try:
            form = form_of(request.headers)
            async for chunk in request.stream():
                chunks.append(chunk)
                self._hold(len(chunk))
            return await _taken(request, form, b"".join(chunks))
        except Unreadable as error:
            return problem(error.status, str(error))
        except RetryLater as error:
            response = problem(503, str(error))
            response.headers["Retry-After"] = str(max(1, round(error.after_s)))
            return response
        finally:
            self._held_bytes -= sum(map(len, chunks))

    def _hold(self, n_bytes: int) -> None:
        """Count what has come: never what was announced."""
        self._held_bytes += n_bytes
        if self._held_bytes > HELD_BYTES_MAX:
            raise RetryLater("too many events are coming in", after_s=1)


async def _taken(request: Request, form: Form, body: bytes) -> Response:
    """Store the events of a body, and answer what became of each."""
    parts: Parts = request.app.state.parts
    token: Token | None = request.scope.get("state", {}).get("token")
    sending = Sending(
        form=form,
        now_ms=parts.clock.now_ms(),
        only_source=None if token is None else token.source,
        prepare=parts.external.prepare,
    )
    read, is_alone = await _read(body, sending)
    new = [event for event in read if isinstance(event, NewEvent)]
    taken = iter(await parts.external.take(new, n_bytes=len(body)))
    parts.external.refuse(len(read) - len(new))
    results = [
        _stored(event, next(taken)) if isinstance(event, NewEvent) else _refused(event)
        for event in read
    ]
    # Whoever sends one event looks at the status, and at nothing else.
    status = STATUS_ALONE[results[0].verdict] if is_alone else HTTPStatus.OK
    return answer(_summed(results), status=status)


async def _read(body: bytes, sending: Sending) -> tuple[Read, bool]:
    """Return what the events of a body come to; what takes long is read in a thread."""
    if len(body) > AT_ONCE_BYTES_MAX:
        return await asyncio.to_thread(read_events, body, sending)
    read = read_at_once(body, sending)
    if read is None:
        read = await asyncio.to_thread(read_one_by_one, body, sending)
    return read


def _summed(results: list[EventVerdict]) -> EventsAnswer:
    verdicts = [result.verdict for result in results]
    return EventsAnswer(
        accepted=verdicts.count("accepted"),
        duplicate=verdicts.count("duplicate"),
        conflict=verdicts.count("conflict"),
        refused=verdicts.count("refused"),
        results=results,
    )


def _stored(event: NewEvent, taken: Taken) -> EventVerdict:
    return EventVerdict(
        verdict=taken.verdict,
        source=event.name.source,
        id=event.name.external_id,
        event=taken.event_id,
        is_held=taken.is_held,
        reason=taken.reason,
        field=taken.field,
    )


def _refused(refused: Refused) -> EventVerdict:
    return EventVerdict(
        verdict="refused",
        source=refused.source,
        id=refused.external_id,
        event=None,
        is_held=False,
        reason=refused.reason,
        field=refused.field,
    )


STATUS_ALONE: Final = {
    "accepted": HTTPStatus.OK,
    "duplicate": HTTPStatus.OK,
    "conflict": HTTPStatus.CONFLICT,
    "refused": HTTPStatus.BAD_REQUEST,
}

PLAIN: Final = {
    "id": "job-4711",
    "source": "render-farm",
    "time": "2026-11-22T08:00:00Z",
    "subject": "acct_1",
    "quantities": {"gpu_seconds": 42},
}
CLOUD: Final = {
    "specversion": "1.0",
    "id": "job-4711",
    "source": "render-farm",
    "type": "com.example.render",
    "time": "2026-11-22T08:00:00Z",
    "subject": "acct_1",
    "data": {"quantities": {"gpu_seconds": 42}},
}
DESCRIBED: Final = (
    Described(
        path=EVENTS_PATH,
        method="post",
        name="send_events",
        summary="Send events; each is counted once, whatever is sent again",
        description="Answers once every accepted event is on disk. A batch is answered"
        " with 200 and a verdict for each event; one event alone with 200, 409 (conflict)"
        " or 400 (refused). After 429, 503 or no answer at all, send the same again.",
        bodies={
            JSON_TYPE: Body(
                PlainEvent, PLAIN, can_be_one=True, items_max=BATCH_EVENTS_MAX
            ),
            CLOUD_TYPE: Body(CloudEvent, CLOUD, can_be_one=True),
            BATCH_TYPE: Body(CloudEvent, [CLOUD], items_max=BATCH_EVENTS_MAX),
        },
        answer=EventsAnswer,
        example=msgspec.to_builtins(
            _summed(
                [
                    EventVerdict(
                        verdict="accepted",
                        source="render-farm",
                        id="job-4711",
                        event=17,
                        is_held=False,
                        reason=None,
                        field=None,
                    )
                ]
            )
        ),
        answered_with=("200", "400", "409"),
    ),
)
