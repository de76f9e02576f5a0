"""What stands for the events of requests that are left out before they begin."""

import sys

from meterline.meter import Meter
from meterline.open_event import LEFT_OUT, OpenEvent


class LeftOut(OpenEvent):
    """In place of an event: the current one of requests that make none.

    One for all of them: it holds nothing.
    """

    __slots__ = ()

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.subject = self.route = self.method = self.handle = None
        self.quantities = self.properties = self.named = None
        self.status = 0
        self.flags = LEFT_OUT
        self.start_ns = sys.maxsize  # in a forked child, too
        self.is_over = True
        self.left_at = 0
