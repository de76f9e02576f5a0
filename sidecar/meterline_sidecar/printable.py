"""Texts of others on their way to a terminal, a log or a table: nothing acts there.

What an app's client called itself reaches the operator's terminal. There an escape
sequence sets titles, moves the cursor and hides lines, a line end makes a line of its
own in a log, and a spreadsheet takes a cell that begins with ``=`` for a formula.
"""

import logging
import re
import textwrap
import time
from types import TracebackType
from typing import Final, TextIO

ExcInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
)
STYLE: Final = r"\x1b\[(?:[0-2]|3[0-7])m"  # what click makes of a colour
REDRAW: Final = r"^(?:\r\[|\x1b\[H\x1b\[J$)"  # a bar that grows; a page drawn again
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_SUSPECT: Final = re.compile(r"[^ -~]")
_SUSPECT_IN_LINES: Final = re.compile(r"[^ -~\n\t]")
_REVERSING: Final = re.compile("[\u202d\u202e]")
_TURNING: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_STYLED: Final = re.compile(f"{STYLE}|{REDRAW}|[^ -~\n\t]")


def printable(text: str) -> str:
    """Return a text on one line, with what does not print written as ``\\u001b``.

    As JSON writes it: a program that reads it from there gets what it was.
    """
    return _SUSPECT.sub(_escaped, text)


def printable_lines(text: str) -> str:
    """Return a text of several lines likewise; their ends and tabs stay."""
    return _SUSPECT_IN_LINES.sub(_escaped, text)


def in_order(text: str) -> str:
    """Return a text without controls that turn what stands around them, as amounts."""
    return _TURNING.sub("", text)


def unreversed(text: str) -> str:
    """Return a text in which what would let letters run backwards is seen instead.

    So ``evil`` cannot be shown as ``live``; names in any script stay as they are.
    """
    return _REVERSING.sub(_escaped, text)


def csv_cell(text: str) -> str:
    """Return a text as a cell that no spreadsheet takes for a formula."""
    shown = printable(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def _escaped(found: re.Match[str]) -> str:
    text = found.group()
    if len(text) > 1 or text.isprintable():  # a style of ours, or a letter
        return text
    raw = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[i : i + 2].hex()}" for i in range(0, len(raw), 2))


class PrintableStream:
    """A stream to a person, on which only our own styles are more than text.

    They are known by their form, and only where there is a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._suspect = _STYLED if stream.isatty() else _SUSPECT_IN_LINES

    def write(self, text: str) -> int:
        """Write a text; return how much of it was taken: all."""
        self._stream.write(self._suspect.sub(_escaped, text))
        return len(text)

    def isatty(self) -> bool:
        """Say whether there is a terminal."""
        return self._stream.isatty()

    def __getattr__(self, name: str) -> object:
        """Return whatever else the stream has."""
        return getattr(self._stream, name)


class PrintableFormatter(logging.Formatter):
    """Log lines that nobody else can begin: what an error says of itself is indented.

    Their times are UTC, as those of events and commands are.
    """

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line itself."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: ExcInfo) -> str:
        """Return a traceback."""
        text = super().formatException(ei)
        return textwrap.indent(printable_lines(text), "  ")
