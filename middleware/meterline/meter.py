"""The recorder: what stands between whoever measures and the spool."""

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, Unpack
from weakref import WeakSet

import msgspec
from msgspec import Struct

from meterline.events import Flag, Kind
from meterline.options import MeterOptions, Options, resolve
from meterline.quantities import (
    Complaints,
    bad_quantity,
    checked_quantity,
    checked_route,
    checked_subject,
)
from meterline.shipper import Shipper
from meterline.spool.living import Spool
from meterline.spool.producer_file import NOT_RECORDABLE, Counts
from meterline.waiting import Room

CLOSE_TIMEOUT_S: Final = 2.0
EXIT_TIMEOUT_S: Final = 1.0

log = logging.getLogger(__name__)
encode: Final = msgspec.msgpack.Encoder().encode

_meters: "WeakSet[Meter]" = WeakSet()


class Stats(Struct, frozen=True, kw_only=True):
    """What one process recorded and shipped; as of the shipper's last look."""

    recorded: int
    """All events, with those that were dropped."""
    dropped: int
    """Events that found no room; they are reported as lost."""
    acked: int
    """Events that are on the sidecar's disk, or reported as lost there."""
    failed: int
    """Events that could not be recorded because of an error of ours: also dropped."""
    complaints: dict[str, int]
    """Quantities and subjects that were left out, by reason."""
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

    append: Callable[[bytes], None]
    """Records one encoded event. It is replaced as the spool comes and goes, so it
    must be looked up for every event."""

    def __init__(self, **options: Unpack[MeterOptions]) -> None:
        self.options: Options = resolve(**options)
        self.complaints = Complaints()
        self.failed = 0
        self.waiting = Room()
        self._earlier = Counts(recorded=0, dropped=0, acked=0)
        self._lock = threading.RLock()
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
        quantity: int,
        *,
        subject: str | None = None,
        route: str | None = None,
    ) -> None:
        """Record one use.

        Args:
            name: of the quantity: letters, digits and ``_ . : -``.
            quantity: a whole number from 0 to 2**63 - 1, of whatever type: 250.0
                is 250.
            subject: who used it; without one it is recorded as unattributed.
            route: an optional template, as a request's.
        """
        self.use(name, quantity, subject=subject, route=route)

    def use(
        self,
        name: str,
        quantity: int,
        *,
        subject: str | None = None,
        route: str | None = None,
        method: str | None = None,
        status: int = 0,
        flags: int = 0,
    ) -> None:
        """Record one use, as one of a request where it is one."""
        quantities = None
        exact, problem = checked_quantity(name, quantity)
        if problem:
            self.complaints.add(problem)
            flags |= bad_quantity(name)
        else:
            quantities = {name: exact}
        if subject is not None and (problem := checked_subject(subject)):
            self.complaints.add(problem)
            flags |= Flag.BAD_SUBJECT
            subject = None
        if route is not None and (problem := checked_route(route)):
            self.complaints.add(problem)
            route = None
        time_ms = time.time_ns() // 1_000_000
        # In the order of UsageEvent; what only a request has is None or 0.
        event = (
            time_ms,
            Kind.USE,
            subject,
            method,
            route,
            status,
            0,
            0,
            0,
            flags,
            quantities,
        )
        self.append(encode(event))

    def fail(self) -> None:
        """Count an event that could not be encoded; it is reported as lost."""
        self.failed += 1
        self.open()
        if (shipper := self.shipper) is not None:
            shipper.spool.writer.drop(NOT_RECORDABLE)

    # --- opening and closing

    def open(self) -> None:
        """Make the spool and start the shipping thread now, not at the first event.

        Does nothing if they are there, or if metering is disabled.
        """
        if self.options.is_disabled:
            return
        with self._lock:
            shipper = self.shipper
            if shipper is None:
                shipper = self.shipper = self._make_shipper()
            try:
                shipper.start()
            except RuntimeError as error:
                # No thread to be had: the spool takes the events, and the next one
                # comes here again.
                self.complaints.add(f"could not start the shipping thread: {error}")
                return
            self.append = shipper.spool.writer.append

    def _make_shipper(self) -> Shipper:
        options = self.options
        spool = Spool.open(
            options.spool_dir,
            app=options.app_name,
            host=socket.gethostname(),
            pid=os.getpid(),
            bytes_max=options.spool_bytes_max,
            when_closed=self._append_anew,
        )
        return Shipper(spool, options, self.waiting, when_dead=self._note_dead_thread)

    def _open_and_append(self, payload: bytes) -> None:
        self.open()
        shipper = self.shipper
        if shipper is None:  # closed again by another thread
            self._append_anew(payload)
        else:
            shipper.spool.writer.append(payload)

    def _append_anew(self, payload: bytes) -> None:
        self.append(payload)

    def _ignore(self, payload: bytes) -> None:
        """Record nothing: metering is disabled."""

    def _note_dead_thread(self) -> None:
        self.append = self._open_and_append

    def flush(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> bool:
        """Wait until the sidecar has all that was recorded; return whether it has.

        Correctness never needs this: what was recorded is safe in the spool.
        """
        shipper = self.shipper
        return shipper is None or shipper.flush(timeout_s=timeout_s)

    def close(self, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Ship what is left, for at most ``timeout_s``, and say goodbye.

        What could not be shipped stays on disk, for the sidecar or the next worker.
        An event that comes later opens everything again.
        """
        self.waiting.finish_all()
        with self._lock:
            shipper = self.shipper
            if shipper is None:
                return
            shipper.spool.close()
            self._forget()
        shipper.stop(timeout_s=timeout_s)
        self._earlier = self._sum(shipper.spool.reader.counts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def forget_parent(self) -> None:
        """In a forked child: leave everything to the parent and begin anew."""
        shipper = self.shipper
        self._lock = threading.RLock()  # a thread that is not here may have held it
        self._earlier = Counts(recorded=0, dropped=0, acked=0)
        self._forget()
        self.waiting.forget()
        if shipper is not None:
            shipper.abandon()

    @property
    def stats(self) -> Stats:
        """What was recorded, dropped and shipped by this process."""
        shipper = self.shipper
        counts = self._sum(shipper.spool.reader.counts) if shipper else self._earlier
        return Stats(
            **counts._asdict(),
            failed=self.failed,
            complaints=dict(self.complaints.counts),
            spool=shipper.spool.kind if shipper else "",
            is_connected=shipper is not None and shipper.is_connected,
        )

    def _sum(self, counts: Counts) -> Counts:
        return Counts(*map(sum, zip(self._earlier, counts, strict=True)))


def _after_fork() -> None:
    for meter in list(_meters):
        meter.forget_parent()


def _at_exit() -> None:
    for meter in list(_meters):
        meter.close(timeout_s=EXIT_TIMEOUT_S)


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
