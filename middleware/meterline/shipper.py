"""The thread that brings events from the spool to the sidecar.

It polls. Nothing in a request has to wake it, wait for it or know whether it lives;
what it does not ship now stands in the spool.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from meterline import pace, system
from meterline.complaints import troubles, words
from meterline.link import Link, State
from meterline.logs import Log
from meterline.options import Options
from meterline.spool.dead import (
    ANOTHERS,
    DeadSource,
    DeadSpool,
    remove_unfinished,
    spool_directories,
)
from meterline.spool.living import Spool
from meterline.waiting import NOTED_NS, Room

END_S: Final = 1.0  # for the last files, once what is left was shipped
BACKOFF_S_MIN: Final = 0.1
BACKOFF_S_MAX: Final = 5.0
REFUSED_BACKOFF_S: Final = 60.0  # somebody must change something first
LOOK_EVERY_S: Final = 60.0
"""How often to look for what dead workers left: another one may just have looked at it,
and left it, when we first did."""
HOPELESS: Final = frozenset({"version", "uid", "malformed", "frame_too_long"})
DAMAGE: Final = frozenset({"malformed", "gap"})
"""What the sidecar says to records that are not what they were when we counted them."""

log = Log(__name__)


class Shipper:
    """Ships one producer's events from a daemon thread of its own."""

    __slots__ = ("__dict__", "waiting")

    def __init__(self, spool: Spool, options: Options) -> None:
        self.spool = spool
        self.waiting = Room()
        """What is open and has units: it is looked after once a round."""
        self._options = options
        self._thread: threading.Thread | None = None
        self._link: Link | None = None
        self._backoff_s = BACKOFF_S_MIN
        self._retry_at_s = 0.0
        self._is_away = False
        self._to_drain: list[str] = []
        self._anothers: set[str] = set()
        """Spools that another ledger takes: the sidecar is told of each once."""
        self._look_at_s = 0.0
        self._draining: tuple[DeadSpool, Link] | None = None
        self._bell = pace.Bell()
        self._listening: list[pace.Bell] = []
        """Of those who wait for the next round: a handler of signals may interrupt them,
        and then wait for the end, so they hold no lock."""
        self._stop_at_s: float | None = None
        self.has_ended = False
        """Whether the numbers of the spool are all there will be."""
        self._has_tried_last = False
        self._rounds = 0

    # --- for other threads

    def start(self) -> None:
        """Start the thread, unless it runs, or the interpreter ends.

        Raises:
            RuntimeError: the system gives no more threads.
        """
        if self._thread is not None or system.is_ending():
            return
        name = "meterline-shipper"
        thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread = thread
        try:
            thread.start()
        except BaseException:
            self._thread = None
            if thread in threading.enumerate():  # it runs: the wait for that has failed
                self._thread = thread
            raise

    @property
    def is_running(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None

    def flush(self, *, timeout_s: float) -> bool:
        """Wait until all that was recorded is acked; return whether it is."""
        deadline_s = time.monotonic() + timeout_s
        if not self.look(timeout_s=timeout_s):
            return False
        target = self.spool.reader.counts.recorded
        return self._wait_for(
            lambda: self.spool.reader.counts.acked >= target, deadline_s=deadline_s
        )

    def look(self, *, timeout_s: float = END_S) -> bool:
        """Wait until all that was recorded is counted; return whether it is."""
        # A round that began after this call has seen all that was recorded.
        rounds = self._rounds + 2
        return self._wait_for(
            lambda: self.has_ended or self._rounds >= rounds,
            deadline_s=time.monotonic() + timeout_s,
        )

    def _wait_for(self, is_reached: Callable[[], bool], *, deadline_s: float) -> bool:
        bell = pace.Bell()
        self._listening.append(bell)
        try:
            self._bell.ring()
            while not (is_reached() or self._can_come_no_more):
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return False
                bell.rest(left_s)
            return is_reached()
        finally:
            self._listening.remove(bell)

    @property
    def _can_come_no_more(self) -> bool:
        """Whether who waits for the thread would wait in vain, as in the thread itself."""
        return self.has_ended or self._is_in_thread

    def begin_to_close(
        self, *, timeout_s: float, when_closed: Callable[[bytes], None]
    ) -> None:
        """Record nothing more here, and let the thread come to its end.

        Args:
            timeout_s: for what is left to be shipped, and for the goodbye.
            when_closed: gets the events that come now.
        """
        try:
            self.waiting.finish_all()
            self.spool.close(when_closed)
        finally:
            self._stop_at_s = time.monotonic() + timeout_s
            self._bell.ring()

    def close(self) -> None:
        """Wait for the end: no longer than was said, and not where nobody listens.

        What was not acked stays on disk for whoever drains it.
        """
        if self._stop_at_s is None:
            return
        if self._thread is None:
            self._end()
        elif self._thread.is_alive() and not self._is_in_thread:
            left_s = self._stop_at_s - time.monotonic()
            self._thread.join(max(0.0, left_s) + END_S)

    @property
    def _is_in_thread(self) -> bool:
        """Whether the thread itself asks: it resolves subjects, which is the app's code."""
        return self._thread is threading.current_thread()

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
        while not self._is_finished():
            rest_s = self._round_or_trouble()
            self._rounds += 1
            self._tell_listening()
            self._bell.rest(pace.BUSY_POLL_S if self._listening else rest_s)
        self._end()

    def _tell_listening(self) -> None:
        for bell in list(self._listening):
            bell.ring()

    def _rest_s(self) -> float:
        """Return how long the thread may rest if the next round is not urgent."""
        link, at_s = self._link, self.spool.sync_at_s
        if link is None:
            at_s = min(at_s, self._retry_at_s)
        due_s = at_s - time.monotonic()
        if self._draining is not None or (link is not None and link.is_awaiting):
            due_s = min(due_s, pace.POLL_S)
        elif self.waiting.has_unnoted:
            due_s = min(due_s, NOTED_NS / 1e9)
        return pace.rest_s(left_bytes=self.spool.writer.left_bytes, due_s=due_s)

    def _round_or_trouble(self) -> float:
        """Look after everything once; return for how long to rest then."""
        try:
            return pace.BUSY_POLL_S if self._round() else self._rest_s()
        except BaseException as error:  # noqa: BLE001 - edge: all events here wait for it
            # Nothing is lost by it: what was not acked is sent again.
            name = type(error).__name__
            troubles.add(f"{name} in the shipping thread", exc_info=True)
            with contextlib.suppress(Exception):
                self._hang_up()
            self._back_off()
            return pace.POLL_S

    def _round(self) -> bool:
        """Look after everything once; return whether the next round is urgent.

        What was recorded meanwhile is not: the longer it waits, the fewer frames,
        wake-ups of this thread and commits of the sidecar it makes.
        """
        # Asked before the look at the spool: what is found after the end is all.
        is_last = self._stop_at_s is not None
        if not is_last:
            self.waiting.look_after(self.spool.writer.file.set_waiting)
        self.spool.maintain(sync_interval_s=self._options.sync_interval_s)
        is_busy = self._ship(is_last=is_last) or is_last
        if self.is_connected and not is_last:
            is_busy |= self._drain()
        return is_busy

    def _is_finished(self) -> bool:
        if self._stop_at_s is None:
            return False
        is_done = self._link is not None and self._link.state is State.DONE
        has_given_up = self._link is None and self._is_away and self._has_tried_last
        return is_done or has_given_up or time.monotonic() >= self._stop_at_s

    def _end(self) -> None:
        if self.has_ended:  # without a thread, which was about to start
            return
        try:
            self._put_back_dead()
            self.count()
            # What is still open goes to the next spool, or is written before the end.
            self.spool.writer.file.set_waiting(0)
            is_done = self._link is not None and self._link.state is State.DONE
            if self._link is not None:
                self._link.close()
            if is_done:
                self.spool.delete()
            else:
                self.spool.leave(is_synced=self._options.sync_interval_s is not None)
        except Exception as error:  # noqa: BLE001 - edge: nobody above could do anything
            name = type(error).__name__
            troubles.add(f"{name} at the end of the shipping thread", exc_info=True)
        self.has_ended = True
        self._tell_listening()

    def count(self) -> None:
        """Count what came since the last round; where the thread cannot do so meanwhile."""
        try:
            self.spool.reader.scan()
        except Exception as error:  # noqa: BLE001 - edge: what is left must still be left
            troubles.add(f"could not count what is left: {words(error)}", exc_info=True)

    def _ship(self, *, is_last: bool) -> bool:
        """Connect if it is time, and move what can be moved.

        Returns whether some moved, and more is left than could be.
        """
        self._has_tried_last = is_last
        link = self._link
        if link is not None and link.spool != self.spool.kind and not is_last:
            self._hang_up()  # only who says hello says where events wait
            link = None
        if link is None:
            if time.monotonic() < self._retry_at_s and not is_last:
                return False
            try:
                link = self._link = Link(self._options.socket, self.spool.reader)
            except (OSError, ValueError) as error:  # a path with a zero byte in it
                self._go_away(f"{self._options.socket}: {words(error)}")
                return False
        moved = link.pump(is_last=is_last, is_awaited=bool(self._listening))
        if link.state is State.FAILED:
            self._disconnect(link)
        elif link.is_settled:
            self._come_back()
        return moved and link.is_full

    def _disconnect(self, link: Link) -> None:
        self._hang_up()
        code = link.refusal.code if link.refusal else ""
        if code in DAMAGE and self.spool.reader.doubt():
            troubles.add(
                "the spool does not hold what was recorded: what can be read is sent,"
                " and the rest is reported as lost"
            )
        elif code in HOPELESS:
            self._backoff_s = REFUSED_BACKOFF_S
        self._go_away(link.problem)

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._put_back_dead()

    def _go_away(self, problem: str) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("meterline: the sidecar is away, events wait: %s", problem)
        self._back_off()

    def _back_off(self) -> None:
        jitter = 0.75 + os.urandom(1)[0] / 512  # to 1.25: workers come one by one
        self._retry_at_s = time.monotonic() + self._backoff_s * jitter
        self._backoff_s = min(BACKOFF_S_MAX, 2 * self._backoff_s)

    def _come_back(self) -> None:
        self._backoff_s = BACKOFF_S_MIN
        if self._is_away:
            self._is_away = False
            log.info("meterline: the sidecar is back")

    # --- what dead workers left

    def _drain(self) -> bool:
        """Move what can be moved of one dead worker's spool after the other."""
        try:
            return self._drain_some()
        except Exception as error:  # noqa: BLE001 - edge: one bad spool stops no other
            troubles.add(f"could not drain a dead worker's spool: {words(error)}")
            self._let_go()
            return True

    def _drain_some(self) -> bool:
        if self._draining is None:
            self._draining = self._next_dead()
            return self._draining is not None
        dead, link = self._draining
        moved = link.pump(is_last=True)
        if link.state is State.DONE:
            # Not a line for each: a night of short processes leaves thousands.
            log.debug("drained the spool of dead worker %s", dead.hello.pid)
            dead.delete()
        elif link.state is State.FAILED:
            if link.refusal is not None and link.refusal.code == ANOTHERS:
                self._anothers.add(dead.directory)
            troubles.add(
                f"could not drain a dead worker's spool in {self._options.spool_dir}:"
                f" {link.problem}"
            )
        else:
            return moved
        self._let_go()
        return True

    def _next_dead(self) -> tuple[DeadSpool, Link] | None:
        now_s = time.monotonic()
        if not self._to_drain and now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_EVERY_S  # also where this fails
            remove_unfinished(self._options.spool_dir)
            found = spool_directories(self._options.spool_dir)
            self._to_drain = [path for path in found if path not in self._anothers]
        while self._to_drain:
            if (dead := DeadSpool.take(self._to_drain.pop())) is None:
                continue
            try:
                dead.check_claim()
                return dead, Link(self._options.socket, DeadSource(dead))
            except BaseException:
                dead.close()
                raise
        return None

    def _let_go(self) -> None:
        """Give up the lock: the sidecar or another worker may drain it now."""
        draining, self._draining = self._draining, None
        if draining is not None:
            dead, link = draining
            link.close()
            dead.close()

    def _put_back_dead(self) -> None:
        self._let_go()
        self._to_drain = []
        self._anothers.clear()
        self._look_at_s = 0.0
