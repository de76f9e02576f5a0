"""The three packages import, and carry one version."""

import meterline
import meterline_pricing
import meterline_sidecar


def test_the_packages_are_importable() -> None:
    assert meterline.__version__
    assert meterline_pricing.__doc__
    assert meterline_sidecar.__doc__
