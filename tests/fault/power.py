"""What a disk holds when the power goes, rebuilt from what a process did to its files.

``recording`` is a command to put before another one: strace notes every call that changes
a file, a name or what is on the disk. ``Disk`` repeats the calls of a log, and tells at any
of them what would be left: only bytes of files that were synced, only names of directories
that were; or, where a disk chooses, some of the rest as well.
"""

import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.sidecar_process import until

CALLS: Final = (
    *("openat", "write", "pwrite64", "ftruncate", "fallocate", "sendto"),
    *("rename", "link", "unlink", "fsync", "fdatasync"),
)
BYTES_MAX: Final = 4 << 20  # of one call
_LINE: Final = re.compile(r"(\d+) +(.*)")
_WHOLE: Final = re.compile(r"(\w+)\((.*)\) += +(-?\d+)", re.DOTALL)
_TEXT: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR: Final = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")
_NUMBER: Final = re.compile(r", (\d+)")
UNFINISHED: Final = " <unfinished ...>"
RESUMED: Final = re.compile(r"<\.\.\. \w+ resumed>(.*)", re.DOTALL)


def recording(log: Path) -> list[str]:
    """Return the command to put before another one, which stays our own child."""
    return [
        *(
            "strace",
            "-D",
            "-f",
            "--seccomp-bpf",
            "-q",
            "-y",
            "-xx",
            "-s",
            str(BYTES_MAX),
        ),
        *("-e", "signal=none", "-e", f"trace={','.join(CALLS)}", "-o", str(log)),
    ]


class Call(NamedTuple):
    """One call that succeeded."""

    name: str
    descriptor: int
    path: str
    """Of the descriptor, or what was opened, made or removed."""
    text: bytes
    numbers: tuple[int, ...]
    flags: str


def read_calls(log: Path) -> list[Call]:
    """Return the calls of a process that has ended, in the order of their ends."""
    until(lambda: log.exists() and _has_ended(log))
    return list(_calls(log.read_text().splitlines()))


def _has_ended(log: Path) -> bool:
    with log.open("rb") as file:
        first = file.readline().split()
        file.seek(max(0, log.stat().st_size - 1000))
        last = file.read().splitlines()[-1:]
    return bool(last) and last[0].split()[:2] == [*first[:1], b"+++"]


def _calls(lines: Iterable[str]) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        thread, text = match.groups()
        if text.endswith(UNFINISHED):
            begun[thread] = text.removesuffix(UNFINISHED)
            continue
        if (rest := RESUMED.match(text)) is not None:
            text = begun.pop(thread) + rest[1]
        if (found := _WHOLE.match(text)) is not None and int(found[3]) >= 0:
            yield _parsed(found[1], found[2], int(found[3]))


def _parsed(name: str, arguments: str, result: int) -> Call:
    texts = [_bytes(text) for text in _TEXT.findall(arguments)]
    numbers = tuple(map(int, _NUMBER.findall(arguments)))
    described = _DESCRIPTOR.match(arguments)
    if name == "openat":
        folder = arguments.partition("<")[2].partition(">")[0]
        path = os.path.join(os.fsdecode(_bytes(folder)), os.fsdecode(texts[0]))  # noqa: PTH118
        return Call(name, result, path, b"", numbers, arguments.rpartition('"')[2])
    if described is None:  # rename, link, unlink
        return Call(name, -1, os.fsdecode(texts[0]), texts[-1], numbers, "")
    path = "" if described[3] else os.fsdecode(_bytes(described[2]))
    text = texts[0] if texts else b""
    return Call(name, int(described[1]), path, text, numbers, "")


def _bytes(hexed: str) -> bytes:
    return bytes.fromhex(hexed.replace("\\x", ""))


class _File:
    """What is in a file, and what of it is on the disk."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.kept = content
        self.later: list[tuple[int, bytes | None]] = []
        """Writes since then; ``None``: it was cut or made longer, to that size."""

    def change(self, at: int, data: bytes | None) -> None:
        """Write something, or set the size."""
        _change(self.content, at, data)
        self.later.append((at, data))

    def sync(self) -> None:
        """Put it on the disk."""
        self.kept = bytes(self.content)
        self.later.clear()

    def survivor(self, chance: random.Random | None) -> bytes:
        """Return what is left of it; by chance some of what came later as well."""
        left = bytearray(self.kept)
        for at, data in self.later if chance else ():
            if chance is not None and chance.random() < 0.5:
                _change(left, at, data)
        return bytes(left)


def _change(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
        content.extend(bytes(at - len(content)))
    else:
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data


class Disk:
    """The files of one folder, as programs see them and as a power cut leaves them.

    Args:
        first: what is on it at first.
    """

    def __init__(self, root: Path, first: Mapping[Path, bytes] | None = None) -> None:
        self._root = str(root)
        self._kept = {
            str(root / path): _File(content) for path, content in (first or {}).items()
        }
        self._names = dict(self._kept)
        self._later: list[dict[str, _File]] = []
        self._offsets: dict[int, int] = {}

    def repeat(self, call: Call) -> None:
        """Do what a process did."""
        if not call.path.startswith(self._root):
            return
        file = self._names.get(call.path)
        match call.name:
            case "openat":
                self._open(call)
            case "write" if file is not None:
                at = self._offsets.get(call.descriptor, 0)
                self._offsets[call.descriptor] = at + len(call.text)
                file.change(at, call.text)
            case "pwrite64" if file is not None:
                file.change(call.numbers[-1], call.text)
            case "ftruncate" if file is not None:
                file.change(call.numbers[-1], None)
            case "fallocate" if file is not None:
                size = max(len(file.content), sum(call.numbers[-2:]))
                file.change(size, None)
            case "fsync" | "fdatasync":
                self._sync(call.path)
            case "rename" | "link" | "unlink":
                self._name(call)
            case _:
                pass

    def _open(self, call: Call) -> None:
        self._offsets[call.descriptor] = 0
        file = self._names.get(call.path)
        if file is None and "O_CREAT" in call.flags:
            self._names[call.path] = _File()
            self._later.append(dict(self._names))
        elif file is not None and "O_TRUNC" in call.flags:
            file.change(0, None)

    def _name(self, call: Call) -> None:
        file = self._names.get(call.path)
        if file is None:  # a socket, or something that was there before
            return
        if call.name != "link":
            del self._names[call.path]
        if call.name != "unlink":
            self._names[os.fsdecode(call.text)] = file
        self._later.append(dict(self._names))

    def _sync(self, path: str) -> None:
        if (file := self._names.get(path)) is not None:
            file.sync()
            return
        for names in (self._names, self._kept):
            for name in [name for name in names if str(Path(name).parent) == path]:
                if name in self._names:
                    self._kept[name] = self._names[name]
                else:
                    del self._kept[name]
        self._later.clear()

    def survivors(self, chance: random.Random | None = None) -> dict[Path, bytes]:
        """Return what a machine would find that starts now.

        Args:
            chance: some of what was never synced is there, too; without it, nothing.
        """
        names = self._kept
        if chance is not None:
            names = chance.choice([self._kept, *self._later])
        return {
            Path(name).relative_to(self._root): file.survivor(chance)
            for name, file in names.items()
        }

    def known(self) -> set[str]:
        """Return the names that programs see now."""
        return {str(Path(name).relative_to(self._root)) for name in self._names}

    def at_risk(self) -> set[str]:
        """Return the names of what a power cut would change now."""
        seen = {
            Path(name).relative_to(self._root): bytes(file.content)
            for name, file in self._names.items()
        }
        left = self.survivors()
        paths = seen.keys() | left.keys()
        return {str(path) for path in paths if seen.get(path) != left.get(path)}


def put(survivors: dict[Path, bytes], folder: Path) -> None:
    """Write what survived into a folder."""
    for path, content in survivors.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
