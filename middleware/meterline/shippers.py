"""The shippers of this process: one for all meters that record to the same place.

A thread, a few descriptors and a spool belong to each. An app that makes a meter for
each request, or wraps each of its parts, has one of them all the same.
"""

import contextlib
import os
import threading
from _weakrefset import WeakSet  # `threading` has it from there, too
from functools import partial
from typing import Final

from msgspec import Struct

from meterline import system
from meterline.complaints import troubles
from meterline.options import Options
from meterline.shipper import Shipper
from meterline.spool.living import Spool

SHIPPERS_MAX: Final = 32  # of different options, in one process
LOCK_TIMEOUT_S: Final = 1.0  # at the end of the process


class _Shared(Struct, frozen=True):
    shipper: Shipper
    users: "WeakSet[object]"


class Shippers:
    """Every shipper of this process, by the options of the meters that use it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """For what must not happen between two of these calls."""
        self._shared: dict[Options, _Shared] = {}

    def take(self, options: Options, *, user: object | None) -> Shipper:
        """Return the shipper for ``options``, which is made if there is none.

        Its thread runs, if a thread is to be had.

        Args:
            user: until it gives the shipper back, or is no more, nobody closes it.

        Raises:
            OSError: there is no room for another one, not even in memory.
        """
        with self.lock:
            shared = self._shared.get(options)
            if shared is None:
                self._make_room()
                shared = _Shared(self._new(options), WeakSet())
                self._shared[options] = shared
            if user is not None:
                shared.users.add(user)
            try:  # within the lock: who closes all must not meet one half started
                shared.shipper.start()
            except RecursionError:
                raise
            except RuntimeError as error:
                # The spool takes the events. The next event tries again.
                troubles.add(f"could not start the shipping thread: {error}")
        return shared.shipper

    def _new(self, options: Options) -> Shipper:
        spool = Spool.open(
            options.spool_dir,
            app=options.app_name,
            host=system.host_name(),
            pid=os.getpid(),
            bytes_max=options.spool_bytes_max,
        )
        return Shipper(spool, options)

    def _append_late(self, options: Options, payload: bytes) -> None:
        """Record an event whose spool was closed while it was on its way there."""
        self.take(options, user=None).spool.writer.append(payload)

    def _make_room(self) -> None:
        """Close what nobody uses any more, if there are as many as there may be."""
        if len(self._shared) < SHIPPERS_MAX:
            return
        for options, shared in list(self._shared.items()):
            if not shared.users:
                del self._shared[options]
                late = partial(self._append_late, options)
                shared.shipper.begin_to_close(timeout_s=0, when_closed=late)
                shared.shipper.close()
        if len(self._shared) >= SHIPPERS_MAX:
            raise OSError(
                f"meters with {SHIPPERS_MAX} different options are open in this process;"
                " give them the same options, or close some"
            )

    def give_back(
        self, options: Options, *, user: object, shipper: Shipper
    ) -> bool | None:
        """Take note that ``user`` is done; return whether the shipper is to be closed.

        ``None`` if somebody else closes it, such as whom a signal has interrupted.
        """
        with self.lock:
            shared = self._shared.get(options)
            if shared is None or shared.shipper is not shipper:
                return None
            shared.users.discard(user)
            if shared.users:
                return False
            return None if self._shared.pop(options, None) is None else True

    def close_all(self, *, timeout_s: float) -> None:
        """Close all at once, within ``timeout_s``: the process ends."""
        # A thread that holds the lock may be waiting for a disk that is gone.
        if not self.lock.acquire(timeout=LOCK_TIMEOUT_S):
            return
        try:
            closing = [shared.shipper for shared in self._shared.values()]
            for options, shared in self._shared.items():
                late = partial(self._append_late, options)
                shared.shipper.begin_to_close(timeout_s=timeout_s, when_closed=late)
            self._shared.clear()
        finally:
            self.lock.release()
        for shipper in closing:
            shipper.close()

    def forget_parent(self) -> None:
        """In a forked child: leave everything to the parent and begin anew."""
        shippers = [shared.shipper for shared in self._shared.values()]
        self.lock = threading.RLock()  # a thread that is not here may have held it
        self._shared = {}
        for shipper in shippers:
            with contextlib.suppress(Exception):
                shipper.abandon()
