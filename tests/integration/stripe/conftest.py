"""A configuration whose plan is to be made at Stripe."""

from collections.abc import Callable
from pathlib import Path

import pytest

from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.shape import Config
from tests.sidecar_process import METERLINE, PRICING, SIDECAR


@pytest.fixture
def configured(tmp_path: Path) -> Callable[..., Config]:
    """Return a function that writes and reads a configuration."""

    def write(*, mode: str = "delta", pricing: str = PRICING) -> Config:
        billed = f'name = "api_calls"\nbill_through = "meter"\nstripe_mode = "{mode}"'
        meterline = METERLINE.replace('name = "api_calls"', billed)
        (tmp_path / "meterline.toml").write_text(SIDECAR + meterline)
        (tmp_path / "pricing.toml").write_text(pricing)
        return read_config(tmp_path / "meterline.toml")

    return write
