"""On which line of a TOML text each key stands, which ``tomllib`` does not tell.

Only for text that ``tomllib`` has accepted: the scanner trusts that strings end
and brackets match.
"""

import re
import tomllib
from typing import Final

KeyPath = tuple[str | int, ...]
"""The way to a value: ``("plan", 0, "price", 1, "tiers")``."""

_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_STRING: Final = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}|'
    r"'''(?:[^']|'(?!''))*'{3,5}|"
    r'"(?:[^"\\\n]|\\.)*"|'
    r"'[^'\n]*'",
    re.DOTALL,
)
_SCALAR: Final = re.compile(r"[^\s,\]}#][^,\]}#\n]*")


def line_index(text: str) -> dict[KeyPath, int]:
    """Return the line, from 1, of every key, table and array element of ``text``."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.lines


class _Scanner:
    """Walks over valid TOML and notes where each key starts."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._elements: dict[KeyPath, int] = {}  # [[array of tables]] -> how many
        self._line = 1
        self._counted_to = 0

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip_blank():
            if self._next_is("["):
                table = self._header()
            else:
                self._pair(table)

    def _header(self) -> KeyPath:
        line = self._line_here()
        is_array = self.text.startswith("[[", self.at)
        self.at += 2 if is_array else 1
        parts = self._key()
        self.at = self.text.index("]", self.at) + (2 if is_array else 1)
        path = self._resolve((), parts[:-1])
        path = (*path, parts[-1])
        if is_array:
            i = self._elements.get(path, 0)
            self._elements[path] = i + 1
            self.lines.setdefault(path, line)
            path = (*path, i)
        self.lines.setdefault(path, line)
        return path

    def _resolve(self, table: KeyPath, parts: list[str]) -> KeyPath:
        """Return the path of ``parts``, going into the last element of arrays."""
        path = table
        for part in parts:
            path = (*path, part)
            if path in self._elements:
                path = (*path, self._elements[path] - 1)
            self.lines.setdefault(path, self._line_here())
        return path

    def _pair(self, table: KeyPath) -> None:
        line = self._line_here()
        parts = self._key()
        path = (*self._resolve(table, parts[:-1]), parts[-1])
        self.lines.setdefault(path, line)
        self.at = self.text.index("=", self.at) + 1
        self._value(path)

    def _key(self) -> list[str]:
        """Return the parts of a dotted key."""
        parts: list[str] = []
        while True:
            self._skip_blank()
            if self._next_is('"') or self._next_is("'"):
                quoted = self._take(_STRING)
                parts.append(next(iter(tomllib.loads(f"{quoted} = 0"))))
            else:
                parts.append(self._take(_BARE_KEY))
            self._skip_blank()
            if not self._next_is("."):
                return parts
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        if self._next_is("["):
            self._array(path)
        elif self._next_is("{"):
            self._inline_table(path)
        elif self._next_is('"') or self._next_is("'"):
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        i = 0
        while True:
            self._skip_blank()
            if self._next_is("]"):
                break
            self.lines[*path, i] = self._line_here()
            self._value((*path, i))
            i += 1
            self._skip_comma()
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while True:
            self._skip_blank()
            if self._next_is("}"):
                break
            self._pair(path)
            self._skip_comma()
        self.at += 1

    def _skip_comma(self) -> None:
        self._skip_blank()
        if self._next_is(","):
            self.at += 1

    def _skip_blank(self) -> bool:
        """Go to the next thing; return whether there is one."""
        self._take(_BLANK)
        return self.at < len(self.text)

    def _next_is(self, character: str) -> bool:
        return self.text.startswith(character, self.at)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match, f"tomllib took what this scanner cannot read, at {self.at}"
        self.at = match.end()
        return match.group()

    def _line_here(self) -> int:
        self._line += self.text.count("\n", self._counted_to, self.at)
        self._counted_to = self.at
        return self._line
