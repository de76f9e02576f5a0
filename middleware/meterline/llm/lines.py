"""The bytes of an answer as they pass through a proxy: JSON, or events of a stream."""

from typing import Any, Final

import msgspec

from meterline.complaints import troubles
from meterline.llm.calls import UNREADABLE, Call

BYTES_MAX: Final = 16 << 20  # of one line, or of an answer that is no stream
_DATA: Final = b"data:"
_FIELDS: Final = (_DATA, b"event:", b"id:", b"retry:")
_decode: Final = msgspec.json.Decoder().decode


class Lines:
    """Puts pieces of text together to lines, and tells a call what they say.

    Args:
        call: what they are about.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._rest = bytearray()
        self._is_events = False
        self._is_too_long = False

    def feed(self, piece: bytes | str) -> None:
        """Take the next piece, cut anywhere; a text may be a line without its end."""
        if isinstance(piece, str):
            data = piece.encode(errors="replace")
            if self._is_events and (not data or data.startswith(_FIELDS)):
                self._rest += b"\n"
            self._rest += data
        else:
            self._rest += piece
        if not self._is_events:
            # What is no stream is one document, on however many lines.
            self._is_events = self._rest.lstrip().startswith((*_FIELDS, b":"))
        if self._is_events:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._line(line)
        if len(self._rest) > BYTES_MAX:
            self._is_too_long = True
            self._rest.clear()

    def end(self) -> None:
        """Take what is left when nothing more comes."""
        rest = bytes(self._rest)
        self._rest.clear()
        if self._is_events:
            self._line(rest)
        elif rest.strip() and not self._is_too_long:
            self._call.answer(_decoded(rest))

    def _line(self, line: bytes | bytearray) -> None:
        if not line.startswith(_DATA):
            return
        data = bytes(line[len(_DATA) :]).strip()
        if data.startswith(b"{"):  # the last one of OpenAI is no JSON: [DONE]
            self._call.chunk(_decoded(data))


def _decoded(data: bytes) -> object:
    """Return what the text of JSON says; ``None``, with a complaint: it is none."""
    try:
        content: Any = _decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        troubles.add(UNREADABLE)
        return None
    return content
