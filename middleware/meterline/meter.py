"""The recorder: what stands between whoever measures and the spool."""

import atexit
import time
from _weakrefset import WeakSet  # `threading` has it from there, too
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Self, Unpack

import msgspec
from msgspec import Struct

from meterline import system
from meterline.complaints import Complaints, troubles
from meterline.events import Flag, Kind
from meterline.logs import Log
from meterline.options import MeterOptions, Options, resolve, seconds_to_wait
from meterline.properties import Properties
from meterline.quantities import (
    Number,
    bad_quantity,
    checked_name,
    checked_quantity,
    checked_route,
    checked_subject,
)
from meterline.shipper import Shipper
from meterline.shippers import Shippers
from meterline.spool.producer_file import NOT_RECORDABLE
from meterline.spool.reader import Tally

CLOSE_TIMEOUT_S: Final = 2.0
EXIT_TIMEOUT_S: Final = 1.0  # for all meters together
NO_PROPERTIES: Final[Mapping[str, object]] = MappingProxyType({})
Named = tuple[object, object]
"""An id of the app's own, and its source, as the app says them."""
NAMELESS: Final[Named] = (None, None)
RETRY_S: Final = 1.0  # where not even memory was to be had

log = Log(__name__)
encode: Final = msgspec.msgpack.Encoder().encode

shippers: Final = Shippers()
_meters: "WeakSet[Meter]" = WeakSet()


class Stats(Struct, frozen=True, kw_only=True):
    """What one process recorded and shipped, as of the shipper's last look.

    Meters with the same options share one spool: each sees what all of them recorded
    while it was open.
    """

    recorded: int
    """All events, with those that were dropped."""
    dropped: int
    """Events that found no room; they are reported as lost."""
    acked: int
    """Events that are on the sidecar's disk, or reported as lost there."""
    failed: int
    """Events that could not be recorded because of an error of ours: also dropped."""
    excluded: int
    """Requests that were left out on purpose: by ``exclude``, or ``meterline.skip``."""
    complaints: dict[str, int]
    """Quantities and subjects that were left out, by reason."""
    troubles: dict[str, int]
    """What went wrong outside of requests in this process, by reason: files, threads."""
    spool: str
    """``file``, ``memory: REASON``, or empty before the first event."""
    is_connected: bool


class Meter:
    """Records uses outside of requests: in a worker, a cron job, a stream.

        meter = Meter(app_name="nightly")
        meter.record("tokens", 512, subject="acct_42")

    It never blocks and never raises into its caller, and works from any thread.
    A process makes one and keeps it. This is the recorder; what a meter *is* (its
    name, unit and aggregation) stands in the sidecar's configuration.

    Args:
        options: see ``MeterOptions``, each of which has a variable, too.

    Raises:
        ValueError: an option that cannot be meant.
        TypeError: an option that does not exist.
    """

    __slots__ = ("__dict__", "__weakref__", "append", "shipper")

    append: Callable[[bytes], None]
    """Records one encoded event. It is replaced as the spool comes and goes, so it
    must be looked up for every event."""

    def __init__(self, **options: Unpack[MeterOptions]) -> None:
        self.options: Options = resolve(**options)
        self._begin()

    def _begin(self) -> None:
        self.complaints = Complaints()
        self.failed = 0
        self.excluded = 0
        self.owed = 0  # of these, what no spool was there to be told of
        self._excluded_owed = 0  # likewise
        self._tally = Tally()
        self._retry_at_s = 0.0
        self._forget()
        _meters.add(self)

    def _forget(self) -> None:
        """Begin anew: nothing is open, and the first event opens it."""
        self.shipper: Shipper | None = None
        self.append = (
            self._ignore if self.options.is_disabled else self._open_and_append
        )

    # --- recording

    def record(
        self,
        name: str,
        quantity: Number,
        /,
        *,
        subject: str | None = None,
        route: str | None = None,
        id: str | int | None = None,  # noqa: A002 - what everybody calls it
        source: str | None = None,
        **properties: str | int,
    ) -> None:
        """Record one use.

        Args:
            name: of the quantity: letters, digits and ``_ . : -``.
            quantity: as in ``meterline.record``.
            subject: who used it; without one it is recorded as unattributed.
            route: an optional template, as a request's.
            id: as in ``meterline.record``; likewise ``source``.
            properties: as in ``meterline.record``.
        """
        self.use(
            name,
            quantity,
            subject=subject,
            route=route,
            named=(id, source),
            properties=properties,
        )

    def use(
        self,
        name: object,
        quantity: object,
        *,
        subject: object = None,
        route: object = None,
        method: str | None = None,
        status: int = 0,
        flags: int = 0,
        whole: dict[str, str] | None = None,
        named: Named = NAMELESS,
        properties: Mapping[str, object] = NO_PROPERTIES,
    ) -> None:
        """Record one use, as one of a request where it is one. Raises nothing.

        Args:
            method: as the middleware has made it exact; likewise ``status``.
            flags: of ``events.Flag``.
            whole: the exact properties of the request that it is one of.
            named: its id and the source of that, as the app says them.
            properties: its own, as the app says them; they go over those.
        """
        try:
            quantities, own_subject, own_route, bad = self._checked(
                name, quantity, subject=subject, route=route
            )
            if properties:
                exact = Properties(whole)
                if problem := exact.put(properties):
                    self.complaints.add(problem)
                    bad |= Flag.BAD_PROPERTY
                whole = exact.whole
            external_id, source = named
            # Not compared: what the app gave may have a comparison that raises.
            if external_id is not None or source is not None:
                external_id, source, problem = checked_name(*named)
                if problem:
                    self.complaints.add(problem)
                    bad |= Flag.BAD_ID
            # In the order of UsageEvent; what only a request has is None or 0.
            fields = (
                time.time_ns() // 1_000_000,
                Kind.USE,
                own_subject,
                method,
                own_route,
                status,
                0,
                0,
                0,
                flags | bad,
                quantities,
            )
            more: tuple[object, ...] = (whole,) if whole else ()
            if external_id is not None:
                more = (whole or None, None, external_id, source)
            self.append(encode((*fields, *more)))
        except Exception:  # noqa: BLE001 - edge: the app must not see our errors
            self.fail("could not record a use")

    def _checked(
        self, name: object, quantity: object, *, subject: object, route: object
    ) -> tuple[dict[str, int | str] | None, str | None, str | None, int]:
        """Return what can be recorded of a use, and the flags for what cannot."""
        flags = 0
        quantities = own_subject = own_route = None
        text, exact, problem = checked_quantity(name, quantity)
        if problem:
            self.complaints.add(problem)
            flags = bad_quantity(text)
        else:
            quantities = {text: exact}
        if subject is not None:
            own_subject, problem = checked_subject(subject)
            if problem:
                self.complaints.add(problem)
                flags |= Flag.BAD_SUBJECT
        if route is not None:
            own_route, problem = checked_route(route)
            if problem:
                self.complaints.add(problem)
        return quantities, own_subject or None, own_route or None, flags

    def fail(self, what: str = "could not record an event") -> None:
        """Count an event that an error of ours has cost; it is reported as lost.

        To be called where the error was caught: the first one is logged with it.
        Raises nothing.
        """
        self.failed += 1
        try:
            if self.failed == 1:
                text = "meterline: %s; further ones are only counted"
                log.error(text, what, exc_info=True)  # noqa: LOG014
            self.open()
            if (shipper := self.shipper) is not None:
                shipper.spool.writer.drop(NOT_RECORDABLE)
            else:
                self.owed += 1
        except Exception:  # noqa: BLE001 - the next round of the shipping thread tells it
            # Without a call: at the end of the stack there is none to be had.
            if self.shipper is None:
                self.owed += 1
            else:
                self.shipper.spool.writer.owed += 1

    def leave_out(self) -> None:
        """Count a request that is left out on purpose, here and for the sidecar."""
        self.excluded += 1
        shipper = self.shipper
        if shipper is None:
            self._excluded_owed += 1
        else:
            shipper.spool.reader.excluded += 1

    # --- opening and closing

    def open(self) -> None:
        """Make the spool and start the shipping thread now, not at the first event.

        Does nothing if they are there, or if metering is disabled. Raises nothing:
        the next event tries again.
        """
        self._opened()

    def _opened(self) -> Shipper | None:
        """Open, and return what was opened, also where another thread closes it now."""
        if self.options.is_disabled or time.monotonic() < self._retry_at_s:
            return None
        try:
            with shippers.lock:
                shipper = shippers.take(self.options, user=self)
                if shipper is not self.shipper:
                    self._tally.begin(shipper.spool.reader)
                    self.shipper = shipper
                if shipper.is_running:
                    self.append = shipper.spool.writer.append
                shipper.spool.writer.owed += self.owed
                shipper.spool.reader.excluded += self._excluded_owed
                self.owed = self._excluded_owed = 0
                return shipper
        except RecursionError:
            return None  # the next event may come where there is more stack left
        except Exception as error:  # noqa: BLE001 - edge: the app must not see our errors
            self._retry_at_s = time.monotonic() + RETRY_S
            troubles.add(f"nothing can be recorded: {error}")
            return None

    def _open_and_append(self, payload: bytes) -> None:
        if shipper := self._opened():
            shipper.spool.writer.append(payload)
        else:
            self.failed += 1
            self.owed += 1

    def _ignore(self, payload: bytes) -> None:
        """Record nothing: metering is disabled."""

    def flush(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the sidecar has all that was recorded; return whether it has.

        Correctness never needs this: what was recorded is safe in the spool.
        """
        wait_s = seconds_to_wait(timeout_s, usual_s=CLOSE_TIMEOUT_S)
        shipper = self.shipper
        return shipper is None or shipper.flush(timeout_s=wait_s)

    def close(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Ship what is left, for at most ``timeout_s``, and say goodbye.

        What could not be shipped stays on disk, for the sidecar or the next worker.
        Where another meter with the same options is open, all goes on for that one.
        An event that comes later opens everything again. Raises nothing.
        """
        try:
            self._close(seconds_to_wait(timeout_s, usual_s=CLOSE_TIMEOUT_S))
        except Exception as error:  # noqa: BLE001 - edge: the app must not see our errors
            troubles.add(f"could not close a meter: {error}")

    def _close(self, timeout_s: float) -> None:
        if self.owed:  # to be told before the end
            self.open()
        with shippers.lock:
            if (shipper := self.shipper) is None:
                return
            if is_last := shippers.give_back(self.options, user=self, shipper=shipper):
                late = self._open_and_append
                shipper.begin_to_close(timeout_s=timeout_s, when_closed=late)
            elif not shipper.is_running:
                shipper.count()  # nobody else does, and nobody starts it now
            self._forget()
        if is_last:
            shipper.close()
        elif is_last is False and shipper.is_running:
            shipper.look()
        # Whoever has not come to the end in time still counts what was this one's.
        if is_last is False or shipper.has_ended:
            self._tally.end(shipper.spool.reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Return what a copy begins with: what is open belongs to this one alone."""
        return {"options": self.options}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Begin as another meter with the same options, here or in another process."""
        self.__dict__.update(state)
        self._begin()

    def forget_parent(self) -> None:
        """In a forked child: leave everything to the parent and begin anew."""
        self._tally = Tally()
        self.owed = self.failed = self.excluded = self._excluded_owed = 0
        self._forget()

    @property
    def stats(self) -> Stats:
        """What was recorded, dropped and shipped by this process."""
        shipper = self.shipper
        return Stats(
            **msgspec.structs.asdict(self._tally.total),
            failed=self.failed,
            excluded=self.excluded,
            complaints=dict(self.complaints.counts),
            troubles=dict(troubles.counts),
            spool=shipper.spool.kind if shipper else "",
            is_connected=shipper is not None and shipper.is_connected,
        )


def _after_fork() -> None:
    shippers.forget_parent()
    for meter in list(_meters):
        meter.forget_parent()


def _at_exit() -> None:
    shippers.close_all(timeout_s=EXIT_TIMEOUT_S)


system.after_fork(_after_fork)
atexit.register(_at_exit)
