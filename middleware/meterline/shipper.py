"""The thread that brings events from the spool to the sidecar.

It polls. Nothing in a request has to wake it, wait for it or know whether it lives;
what it does not ship now stands in the spool.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from meterline.link import Link, State
from meterline.options import Options
from meterline.spool.dead import DeadSpool, remove_unfinished, spool_directories
from meterline.spool.living import Spool
from meterline.spool.scan import Part
from meterline.waiting import Room
from meterline.wire import Hello

POLL_S: Final = 0.05
BUSY_POLL_S: Final = 0.002  # while bytes move or somebody waits
BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 5.0
REFUSED_BACKOFF_S: Final = 60.0  # somebody must change something first
HOPELESS: Final = frozenset({"version", "uid", "malformed", "frame_too_long"})

log = logging.getLogger(__name__)


class DeadSource:
    """A dead producer's spool, as a link wants it."""

    def __init__(self, spool: DeadSpool) -> None:
        self._spool = spool
        self._parts: Iterator[Part] = iter(())
        self.hello: Hello = spool.hello
        self.recorded_seq = spool.hello.recorded_seq

    def resume(self, last_seq: int) -> None:
        """Start again behind ``last_seq``."""
        self._parts = self._spool.parts(after_seq=last_seq)

    def next_part(self) -> Part | None:
        """Return what to send next; ``None`` at the end."""
        part = next(self._parts, None)
        if part is not None:
            self.recorded_seq = max(self.recorded_seq, part.last_seq)
        return part

    def ack(self, seq: int) -> None:
        """Nothing to do: the spool is deleted as a whole."""


class Shipper:
    """Ships one producer's events from a daemon thread of its own.

    Args:
        waiting: what is open and has units: it is looked after once a round.
        when_dead: called at the very end of the thread if nobody asked it to stop.
    """

    def __init__(
        self,
        spool: Spool,
        options: Options,
        waiting: Room,
        *,
        when_dead: Callable[[], None],
    ) -> None:
        self.spool = spool
        self._waiting = waiting
        self._options = options
        self._when_dead = when_dead
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._backoff_s = BACKOFF_S_MIN
        self._retry_at_s = 0.0
        self._is_away = False
        self._to_drain: list[Path] | None = None  # None: not looked for yet
        self._draining: tuple[DeadSpool, Link] | None = None
        self._wake = threading.Event()
        self._stop_at_s: float | None = None
        self._has_tried_last = False
        self._progress = threading.Condition()
        self._rounds = 0

    # --- for other threads

    def start(self) -> None:
        """Start the thread, unless it runs.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        if self._thread is not None:
            return
        self._thread = threading.Thread(
            target=self._main, name="meterline-shipper", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            raise

    def flush(self, *, timeout_s: float) -> bool:
        """Wait until all that was recorded is acked; return whether it is."""
        deadline_s = time.monotonic() + timeout_s

        def wait_for(is_reached: Callable[[], bool]) -> bool:
            self._wake.set()
            return self._progress.wait_for(
                is_reached, max(0.0, deadline_s - time.monotonic())
            )

        with self._progress:
            # A round that began after this call has seen all that was recorded.
            rounds = self._rounds + 2
            if not wait_for(lambda: self._rounds >= rounds):
                return False
            target = self.spool.reader.counts.recorded
            return wait_for(lambda: self.spool.reader.counts.acked >= target)

    def stop(self, *, timeout_s: float) -> None:
        """Ship what is left of the closed spool, say goodbye, and end the thread.

        Returns after ``timeout_s`` at the latest, and at once where nobody listens.
        What was not acked stays on disk for whoever drains it.
        """
        self._stop_at_s = time.monotonic() + timeout_s
        self._wake.set()
        if (thread := self._thread) is not None:
            thread.join(timeout_s + 1.0)

    @property
    def is_connected(self) -> bool:
        """Whether the sidecar listens to us at the moment."""
        link = self._link
        return link is not None and link.state in (State.OPEN, State.LEAVING)

    def abandon(self) -> None:
        """Let go of everything in a forked child: it belongs to the parent."""
        if self._link is not None:
            self._link.close()
        if self._draining is not None:
            dead, link = self._draining
            link.close()
            dead.close()
        self.spool.abandon()

    # --- the thread

    def _main(self) -> None:
        try:
            while not self._is_finished():
                self._wake.clear()
                moved = self._round()
                with self._progress:
                    self._rounds += 1
                    self._progress.notify_all()
                if not self._wake.is_set():
                    self._wake.wait(BUSY_POLL_S if moved else POLL_S)
            self._end()
        finally:
            if self._stop_at_s is None:
                # Not left to is_alive(), which is true until long after this.
                self._thread = None
                log.error("the shipping thread ended; the next event restarts it")
                self._when_dead()

    def _round(self) -> bool:
        # Asked before the look at the spool: what is found after the end is all.
        is_last = self._stop_at_s is not None
        if not is_last:
            self._waiting.look_after(self.spool.writer.file.set_waiting)
        self.spool.maintain(sync_interval_s=self._options.sync_interval_s)
        moved = self._ship(is_last=is_last)
        if self.is_connected and not is_last:
            moved |= self._drain()
        return moved or is_last

    def _is_finished(self) -> bool:
        if self._stop_at_s is None:
            return False
        if self._link is None:
            return self._is_away and self._has_tried_last
        is_done = self._link.state is State.DONE
        return is_done or time.monotonic() >= self._stop_at_s

    def _end(self) -> None:
        self._put_back_dead()
        # What is still open goes to the next spool, or is written before the end.
        self.spool.writer.file.set_waiting(0)
        is_done = self._link is not None and self._link.state is State.DONE
        if self._link is not None:
            self._link.close()
        if is_done:
            self.spool.delete()
        else:
            self.spool.abandon()

    def _ship(self, *, is_last: bool) -> bool:
        """Connect if it is time, and move what can be moved."""
        self._has_tried_last = is_last
        link = self._link
        if link is None:
            if time.monotonic() < self._retry_at_s and not is_last:
                return False
            try:
                link = self._link = Link(self._options.socket, self.spool.reader)
            except OSError as error:
                self._go_away(f"{self._options.socket}: {error.strerror or error}")
                return False
        moved = link.pump(is_last=is_last)
        if link.state is State.FAILED:
            self._disconnect(link)
        elif link.state is State.OPEN:
            self._come_back()
        return moved

    def _disconnect(self, link: Link) -> None:
        self._link = None
        link.close()
        self._put_back_dead()
        code = link.refusal.code if link.refusal else ""
        if code in HOPELESS:
            self._backoff_s = REFUSED_BACKOFF_S
        self._go_away(link.problem)

    def _go_away(self, problem: str) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("the sidecar is away, events wait in the spool: %s", problem)
        jitter = random.uniform(0.75, 1.25)  # noqa: S311 - spreads, hides nothing
        self._retry_at_s = time.monotonic() + self._backoff_s * jitter
        self._backoff_s = min(BACKOFF_S_MAX, 2 * self._backoff_s)

    def _come_back(self) -> None:
        self._backoff_s = BACKOFF_S_MIN
        if self._is_away:
            self._is_away = False
            log.info("the sidecar is back")

    # --- what dead workers left

    def _drain(self) -> bool:
        """Move what can be moved of one dead worker's spool after the other."""
        if self._draining is None:
            self._draining = self._next_dead()
            return self._draining is not None
        dead, link = self._draining
        moved = link.pump(is_last=True)
        if link.state is State.DONE:
            log.info("drained the spool of dead worker %s", dead.hello.pid)
            dead.delete()
        elif link.state is State.FAILED:
            log.warning("could not drain a dead worker's spool: %s", link.problem)
            dead.close()
        else:
            return moved
        link.close()
        self._draining = None
        return True

    def _next_dead(self) -> tuple[DeadSpool, Link] | None:
        try:
            if self._to_drain is None:
                remove_unfinished(self._options.spool_dir)
                self._to_drain = spool_directories(self._options.spool_dir)
            while self._to_drain:
                if (dead := DeadSpool.take(self._to_drain.pop())) is None:
                    continue
                try:
                    return dead, Link(self._options.socket, DeadSource(dead))
                except OSError:
                    dead.close()
                    raise
        except OSError as error:
            log.warning("could not drain a dead worker's spool: %s", error)
        return None

    def _put_back_dead(self) -> None:
        """Give up the locks: the sidecar or another worker may drain them now."""
        if self._draining is not None:
            dead, link = self._draining
            link.close()
            dead.close()
            self._draining = None
        self._to_drain = None
