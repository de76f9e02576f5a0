"""Whether two sidecars were given the same files: a digest for each table."""

from hashlib import blake2b
from pathlib import PurePath
from typing import Any, Final

import msgspec

from meterline_sidecar.config.customers import PackedCustomers
from meterline_sidecar.config.shape import Config

OF_ONE_HOST: Final = ("file", "sidecar", "centre", "server")
"""What may differ from host to host."""
DIGEST_BYTES: Final = 8


def digests(config: Config) -> str:
    """Return a text that tells what the files of one say from what those of another do."""
    return msgspec.json.encode(
        {
            table: blake2b(
                msgspec.json.encode(
                    getattr(config, table), enc_hook=_plain, order="deterministic"
                ),
                digest_size=DIGEST_BYTES,
            ).hexdigest()
            for table in Config.__struct_fields__
            if table not in OF_ONE_HOST
        }
    ).decode()


def differing(ours: str, theirs: str) -> tuple[str, ...]:
    """Return which tables say something else, by two texts of ``digests``."""
    known = msgspec.json.decode(ours, type=dict[str, str])
    others = msgspec.json.decode(theirs or "{}", type=dict[str, str])
    return tuple(table for table in known if others.get(table) != known[table])


def _plain(value: Any) -> Any:
    """Return a value as it is compared; a file lies elsewhere on another host."""
    if isinstance(value, PurePath):
        return value.name
    if isinstance(value, PackedCustomers):
        return list(value)
    return repr(value)
