"""Texts of others on their way to a terminal, a log or a table: nothing acts there.

What an app's client called itself reaches the operator's terminal. There an escape
sequence sets titles, moves the cursor and hides lines, a line end makes a line of its
own in a log, and a spreadsheet takes a cell that begins with ``=`` for a formula.
"""

import codecs
import contextlib
import io
import logging
import re
import textwrap
import time
from collections.abc import Generator
from types import TracebackType
from typing import Any, Final, TextIO

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
    return _codes(text)


def _codes(text: str) -> str:
    raw = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{raw[i : i + 2].hex()}" for i in range(0, len(raw), 2))


def _as_codes(error: UnicodeError) -> tuple[str, int]:
    """Return what stands in place of letters that an encoding does not have."""
    assert isinstance(error, UnicodeEncodeError)
    return _codes(error.object[error.start : error.end]), error.end


codecs.register_error("meterline", _as_codes)


def _whole(stream: TextIO) -> TextIO:
    """Return a stream that writes all letters of all texts, or raises."""
    raw: object = getattr(stream, "buffer", None)
    if isinstance(raw, io.FileIO):
        # PYTHONUNBUFFERED: what a full disk does not take of a text would be forgotten.
        return io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding,
            errors="meterline",
            line_buffering=True,
        )
    reconfigure: Any = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="meterline")
    return stream


class PrintableStream:
    """A stream to a person, on which only our own styles are more than text.

    They are known by their form, and only where there is a terminal. Letters that the
    stream's encoding does not have are written out in the same way.

    Args:
        name: of the stream, for who reads that it cannot be written to.
    """

    def __init__(self, stream: TextIO, *, name: str = "output") -> None:
        self._stream = stream = _whole(stream)
        self._name = name
        self._suspect = _STYLED if stream.isatty() else _SUSPECT_IN_LINES

    def write(self, text: str) -> int:
        """Write a text; return how much of it was taken: all.

        Raises:
            OSError: there is no room for it, or nobody reads it any more.
        """
        with self._named():
            self._stream.write(self._suspect.sub(_escaped, text))
        return len(text)

    def flush(self) -> None:
        """Write what waits; raises as ``write``."""
        with self._named():
            self._stream.flush()

    @contextlib.contextmanager
    def _named(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            error.filename = self._name
            raise

    def isatty(self) -> bool:
        """Say whether there is a terminal."""
        return self._stream.isatty()

    @property
    def encoding(self) -> str:
        """How letters are written. ASCII is said to be Latin-1, which it is a part of:
        click makes a stream of its own in place of one of ASCII, and would pass by this.
        """
        name = codecs.lookup(getattr(self._stream, "encoding", None) or "utf-8").name
        return "iso8859-1" if name == "ascii" else name

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
