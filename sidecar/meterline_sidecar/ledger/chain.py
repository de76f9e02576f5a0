"""A keyed chain over what was committed, so that a changed or missing row shows.

Each committed batch carries ``mac = HMAC-SHA256(key, previous mac | its facts | its
rows)``. The key lies in a 0600 file beside the database. The newest mac (the head)
is also written outside the database: a ledger that lost its tail is consistent in
itself, and only the head tells that something came after it.
"""

import hmac
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

from meterline_sidecar.errors import MeterlineError
from meterline_sidecar.files import LedgerFiles, replace_file
from meterline_sidecar.store.edge.events import BatchRow, EventRow, LossRow

KEY_BYTES: Final = 32
GENESIS: Final = b"meterline chain 1"
"""What stands in for the mac before the first batch."""

_encode = msgspec.msgpack.Encoder().encode


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
    facts = (producer, *batch.facts())
    rows = sha256(_encode((events, losses))).digest()
    return hmac.digest(key, previous + _encode(facts) + rows, "sha256")


class Head(msgspec.Struct, frozen=True):
    """The newest link of the chain, as it stands outside the database."""

    batch_id: int
    mac: bytes


class ChainFiles:
    """The chain's key and its head, in files beside the database."""

    def __init__(self, database: Path) -> None:
        files = LedgerFiles(database)
        self.key_path = files.key
        self.head_path = files.head
        self.kept_head_path = files.kept_head

    def key(self, *, has_batches: bool) -> bytes:
        """Return the key, which is made the first time.

        Raises:
            MeterlineError: there are batches but no key, or the file is not a key:
                without it nothing can be verified, so a new one is never made then.
        """
        try:
            key = self.key_path.read_bytes()
        except FileNotFoundError:
            if has_batches:
                raise MeterlineError(
                    f"{self.key_path} is missing, but the ledger was written with it; "
                    "restore it from the backup of the database"
                ) from None
            key = secrets.token_bytes(KEY_BYTES)
            replace_file(self.key_path, key, durably=True)
        if len(key) != KEY_BYTES:
            raise MeterlineError(
                f"{self.key_path} holds {len(key)} bytes instead of {KEY_BYTES}; "
                "restore it from the backup of the database"
            )
        return key

    def head(self) -> Head | None:
        """Return the head outside the database, or ``None`` before the first batch.

        Raises:
            MeterlineError: the file cannot be read as a head.
        """
        try:
            return msgspec.json.decode(self.head_path.read_bytes(), type=Head)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError as error:
            raise MeterlineError(
                f"{self.head_path} is damaged ({error}); run `meterline verify`"
            ) from error

    def write_head(self, head: Head, *, durably: bool) -> None:
        """Replace the head. ``durably``: also survive a power loss (after checkpoints).

        After each commit it is written without fsync: that already survives the
        death of this process, and with it a WAL that was deleted is noticed.
        """
        replace_file(self.head_path, msgspec.json.encode(head), durably=durably)

    def keep_head(self) -> None:
        """Put the head aside as evidence; a head that was kept before stays."""
        if not self.kept_head_path.exists():
            self.head_path.replace(self.kept_head_path)
