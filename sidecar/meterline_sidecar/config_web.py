"""Reads what ``meterline.toml`` says of the customer's page."""

from pathlib import Path

from meterline_pricing.toml_source import TEXT, Table
from meterline_sidecar.config import PortalConfig
from meterline_sidecar.config_kinds import ORIGIN


def read_portal(table: Table, folder: Path) -> PortalConfig:
    """Return what ``[portal]`` says."""
    key_file = table.take("key_file", TEXT, None)
    config = PortalConfig(
        frame_origins=table.items("frame_origins", ORIGIN),
        key_file=None if key_file is None else folder / key_file,
    )
    table.close()
    return config
