"""What stands for the events of requests that are left out before they begin."""

import sys

from meterline.open_event import LEFT_OUT, OpenEvent


class LeftOut(OpenEvent, kw_only=True, eq=False):
    """In place of an event: the current one of requests that make none.

    One for all of them: it holds nothing.
    """

    start_ns: int = sys.maxsize  # in a forked child, too
    flags: int = LEFT_OUT
    is_over: bool = True
