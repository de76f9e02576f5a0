"""What the middlewares for ASGI and for WSGI have in common."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from meterline.asgi_types import Scope
from meterline.events import SUBJECT_CHARS_MAX, Flag
from meterline.exclude import exclusion
from meterline.logs import Log
from meterline.meter import Meter, Stats
from meterline.open_event import OpenEvent
from meterline.options import MeterOptions
from meterline.quantities import checked_key, checked_subject
from meterline.retries import retry_header
from meterline.stray import set_home
from meterline.subjects import Resolver

log = Log(__name__)

App = TypeVar("App")


def checked_app(app: App) -> App:
    """Return what a middleware is put around.

    Raises:
        TypeError: no server could call it.
    """
    if not callable(app):
        raise TypeError(
            f"a middleware needs the app itself, which can be called: not {app!r:.100}"
        )
    return app


class Request(OpenEvent, kw_only=True, eq=False):
    """A request that is being served: an ASGI exchange, or a call of a WSGI app."""

    time_ms: int
    middleware: "Metering"
    scope: Scope
    """What the server has said of it, and the app since: in WSGI, the environ."""
    inner: "Metering | None" = None
    """A middleware further inside, with a resolver of its own."""
    bytes_in: int = 0
    bytes_out: int = 0

    def is_excluded(self) -> bool:
        """Tell whether it is left out by its route or status."""
        left_out = self.middleware.exclusion
        return left_out is not None and left_out.covers_answer(self.route, self.status)


class Metering:
    """Says of each request whose it is, and which route it took.

    Args:
        subject: says who used it.
        exclude: what makes no event; see ``exclude.exclusion``.
        idempotency_header: see ``retries.retry_header``.
        options: those of ``Meter``.
        template_of: finds the template of a route.

    Raises:
        ValueError: an option that cannot be meant.
    """

    __slots__ = (
        *("app", "exclusion", "has_matching", "is_starlette", "meter"),
        *("resolver", "retry_header", "template_of", "templates"),
    )

    def __init__(
        self,
        *,
        subject: Resolver,
        exclude: Iterable[str | int] | None,
        idempotency_header: str | None,
        options: MeterOptions,
        template_of: Callable[[Scope], str | None],
    ) -> None:
        self.exclusion = exclusion(exclude)
        self.retry_header = retry_header(idempotency_header)
        self.meter = Meter(**options)
        self.resolver = subject
        self.template_of = template_of
        """Returns the template of the route that was taken, if one was."""
        self.templates: dict[int, str] = {}
        """Of routes, by their ids: what is known without a call."""
        self.is_starlette = False
        self.has_matching = True
        """Routes are asked for also where the scope says nothing."""
        set_home(self.meter)

    @property
    def stats(self) -> Stats:
        """What was recorded, dropped and shipped by this process."""
        return self.meter.stats

    def resolve_subject(self, request: Request) -> str | None:
        """Return who used it; ``None``, with a flag, where the answer is no subject."""
        try:
            subject = self.resolver(request.scope)
        except Exception:  # noqa: BLE001 - edge: the resolver is the app's code
            self.note_unresolved(request)
            return None
        return self.exact_subject(request, subject)

    def exact_subject(self, request: Request, subject: str | None) -> str | None:
        """Return what the resolver said as it is recorded; for nobody, the inner one's."""
        if subject is None:
            if request.inner is None:
                return None
            try:
                subject = request.inner.resolver(request.scope)
            except Exception:  # noqa: BLE001 - edge: as above
                self.note_unresolved(request)
                return None
        if (
            type(subject) is str
            and subject.isascii()
            and 0 < len(subject) <= SUBJECT_CHARS_MAX
        ):
            return subject  # what is nearly always so, without a call
        text, problem = ("", "") if subject is None else checked_subject(subject)
        if problem:
            self._note_bad_subject(request, problem)
        return text or None

    def note_unresolved(self, request: Request) -> None:
        """Take note that the resolver raises, where that was caught."""
        problem = "the subject resolver raised"
        log.debug(problem, exc_info=True)  # noqa: LOG014 - as is said above
        self._note_bad_subject(request, problem)

    def _note_bad_subject(self, request: Request, problem: str) -> None:
        request.flags |= Flag.BAD_SUBJECT
        self.meter.complaints.add(problem)

    def key_of(self, request: Request) -> str | None:
        """Return what a client called its request, with a flag where it cannot be."""
        key, problem = checked_key(self.header_of(request.scope))
        if problem:
            request.flags |= Flag.BAD_ID
            self.meter.complaints.add(problem)
        return key

    def header_of(self, scope: Scope) -> str:
        """Return what a request has in the header with its client's key."""
        raise NotImplementedError

    def resolve_route(self, scope: Scope) -> str | None:
        """Return that template; ``None`` where the framework's insides are others."""
        try:
            return self.template_of(scope)
        except Exception:  # edge: frameworks change their insides
            self.meter.complaints.add("could not find a request's route")
            log.debug("could not find a request's route", exc_info=True)
            return None

    def note_failure(self) -> None:
        """Count an event that our own error has cost, and say so once."""
        self.meter.fail("could not meter a request")
