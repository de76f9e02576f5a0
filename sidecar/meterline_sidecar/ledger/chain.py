"""A keyed chain over what was committed, so that a changed or missing row shows.

Each committed batch carries ``mac = HMAC-SHA256(key, previous mac | its facts | its
rows)``. The key lies in a 0600 file beside the database. The newest mac (the head)
is also written outside the database: a ledger that lost its tail is consistent in
itself, and only the head tells that something came after it.
"""

import hmac
import secrets
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.files import LedgerFiles, overwrite, replace_file
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow
from meterline_sidecar.store.port import Value

KEY_BYTES: Final = 32
GENESIS: Final = b"meterline chain 1"
"""What stands in for the mac before the first batch."""

_encode = msgspec.msgpack.Encoder().encode


def ledger_number(key: bytes) -> int:
    """Return what tells a ledger from others, 1 to 2**48 - 1.

    It follows from the key, and tells nobody the key. So a ledger that was restored, or
    moved to a server, has the number that it had.
    """
    digest = hmac.digest(key, b"meterline ledger number", "sha256")
    return int.from_bytes(digest[:6], "big") or 1


def batch_mac(
    key: bytes,
    previous: bytes,
    *,
    batch: BatchRow,
    producer: str,
    events: list[EventRow],
    losses: list[LossRow],
) -> bytes:
    """Return the mac of a batch, 32 bytes, over everything that was stored of it."""
    # One without properties is hashed as it was before there were any.
    hashed = [event if event.properties is not None else event[:-1] for event in events]
    return mac_of_rows(
        key, previous, batch=batch, producer=producer, rows=hashed, losses=losses
    )


def mac_of_rows(
    key: bytes,
    previous: bytes,
    *,
    batch: BatchRow,
    producer: str,
    rows: Sequence[tuple[Value, ...]],
    losses: list[LossRow],
) -> bytes:
    """Return the same of rows as they are hashed: without properties, where none are."""
    facts = (producer, *batch.facts())
    digest = sha256(_encode((rows, losses))).digest()
    return hmac.digest(key, previous + _encode(facts) + digest, "sha256")


class Head(msgspec.Struct, frozen=True):
    """The newest link of the chain, as it stands outside the database."""

    batch_id: int
    mac: bytes


class HeadDamaged(MeterlineError):
    """The head cannot be read: nobody can tell whether the ledger has lost its end."""


class ChainFiles:
    """The chain's key and its head, in files beside the database."""

    def __init__(self, database: Path) -> None:
        files = LedgerFiles(database)
        self.key_path = files.key
        self.head_path = files.head
        self.newest_path = files.newest
        self.kept_head_path = files.kept_head
        self._key: bytes | None = None

    def key(self, *, has_batches: bool) -> bytes:
        """Return the key, which is made the first time and read once.

        Args:
            has_batches: something was written with it.

        Raises:
            MeterlineError: there are batches but no key, or the file is not a key:
                without it nothing can be verified, so a new one is never made then.
        """
        if self._key is not None:
            return self._key
        try:
            key = self.key_path.read_bytes()
        except FileNotFoundError:
            key = b""
            if has_batches:
                raise MeterlineError(
                    f"{self.key_path} is missing, but the ledger was written with it; "
                    "restore it from the backup of the database"
                ) from None
        if len(key) != KEY_BYTES and not has_batches:
            key = secrets.token_bytes(KEY_BYTES)
            replace_file(self.key_path, key, durably=True)
        if len(key) != KEY_BYTES:
            raise MeterlineError(
                f"{self.key_path} holds {len(key)} bytes instead of {KEY_BYTES}; "
                "restore it from the backup of the database"
            )
        self._key = key
        return key

    def head(self) -> Head | None:
        """Return the head outside the database, or ``None`` before the first batch.

        Raises:
            HeadDamaged: the file cannot be read as a head.
        """
        return _read_head(self.head_path)

    def newest(self) -> Head | None:
        """Return the newest head that was ever here, or ``None`` before the first.

        A backup that was put back by hand may have brought its own head with it.

        Raises:
            HeadDamaged: a file cannot be read as a head.
        """
        heads = [_read_head(path) for path in (self.head_path, self.newest_path)]
        return max(
            (head for head in heads if head is not None),
            key=lambda head: head.batch_id,
            default=None,
        )

    def write_head(self, head: Head, *, durably: bool) -> None:
        """Replace the head. ``durably``: also survive a power loss (after checkpoints).

        After each commit it is written without fsync: that already survives the
        death of this process, and with it a WAL that was deleted is noticed. A power
        loss may leave it damaged, which is an alarm at the next start.
        """
        written = msgspec.json.encode(head)
        if durably:
            replace_file(self.head_path, written, durably=True)
        else:
            # In place: a rename makes the system write the file at once.
            overwrite(self.head_path, written)

    def write_newest(self, head: Head) -> None:
        """Note durably how far the ledger is, where no backup sets it back."""
        replace_file(self.newest_path, msgspec.json.encode(head), durably=True)

    def keep_head(self) -> None:
        """Put the newest head aside as evidence; one that was kept before stays."""
        if not self.kept_head_path.exists():
            try:
                head = self.newest()
            except HeadDamaged:
                self.head_path.replace(self.kept_head_path)
            else:
                written = msgspec.json.encode(head)
                replace_file(self.kept_head_path, written, durably=True)
        self.forget_heads()

    def forget_heads(self) -> None:
        """Remove both heads: they are written anew, from where the ledger is now."""
        self.head_path.unlink(missing_ok=True)
        self.newest_path.unlink(missing_ok=True)


def _read_head(path: Path) -> Head | None:
    try:
        return msgspec.json.decode(_read_twice(path), type=Head)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise HeadDamaged(
            f"{path} is damaged ({error}), as a power failure may leave it, so nobody"
            " can tell whether the ledger has lost its last batches"
        ) from error


def _read_twice(path: Path) -> bytes:
    """Read a file that may be overwritten meanwhile, until twice the same was there."""
    before = None
    while (content := path.read_bytes()) != before:
        before = content
    return content
