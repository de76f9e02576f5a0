"""The bytes of an answer as they pass through a proxy: JSON, or events of a stream."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from meterline.complaints import troubles
from meterline.llm.calls import UNREADABLE, Call

BYTES_MAX: Final = 16 << 20  # of one line, or of an answer that is no stream
_DATA: Final = b"data:"
_FIELDS: Final = (_DATA, b"event:", b"id:", b"retry:")
_FIELD_BYTES_MAX: Final = max(map(len, _FIELDS))
_decode: Final = msgspec.json.Decoder().decode


class _Answer(msgspec.Struct):
    """What of a whole answer says how many tokens there were: all else is passed over."""

    type: Any = None
    model: Any = None
    usage: Any = None


_decode_answer: Final = msgspec.json.Decoder(_Answer).decode


class Lines:
    """Puts pieces of text together to lines, and tells a call what they say.

    Args:
        call: what they are about.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rest = bytearray()
        self._is_events: bool | None = None
        """Whether it is a stream; ``None``: it has not said enough to tell."""
        self._is_too_long = False

    def feed(self, piece: bytes | str) -> None:
        """Take the next piece, cut anywhere; a text may be a line without its end.

        What was there before is not looked at again: pieces are small, and a line or
        an answer may be of many megabytes.
        """
        data = piece.encode(errors="replace") if isinstance(piece, str) else piece
        is_line = isinstance(piece, str) and (not data or data.startswith(_FIELDS))
        if self._is_events and is_line:
            self._rest += b"\n"
        self._rest += data
        if self._is_events is None:
            self._begin()
        if self._is_events and (is_line or b"\n" in data):
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._line(line)
        if self._is_too_long or len(self._rest) > BYTES_MAX:
            # The rest of a document is no more use; that of a line ends with it.
            self._is_too_long = not self._is_events
            self._rest.clear()

    def _begin(self) -> None:
        """Find out by its first bytes whether it is a stream."""
        # What is no stream is one document, on however many lines.
        self._rest = self._rest.lstrip()
        if self._rest.startswith((*_FIELDS, b":")):
            self._is_events = True
        elif len(self._rest) >= _FIELD_BYTES_MAX:
            self._is_events = False

    def end(self) -> None:
        """Take what is left when nothing more comes."""
        rest = bytes(self._rest)
        self._rest.clear()
        if self._is_events:
            self._line(rest)
        elif rest.strip() and not self._is_too_long:
            self._call.answer(_decoded(rest, _decode_answer))

    def _line(self, line: bytes | bytearray) -> None:
        if not line.startswith(_DATA):
            return
        data = bytes(line[len(_DATA) :]).strip()
        if data.startswith(b"{"):  # the last one of OpenAI is no JSON: [DONE]
            self._call.chunk(_decoded(data, _decode))


def _decoded(data: bytes, decode: Callable[[bytes], Any]) -> object:
    """Return what the text of JSON says; ``None``, with a complaint: it is none."""
    try:
        content: Any = decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        troubles.add(UNREADABLE)
        return None
    return content
