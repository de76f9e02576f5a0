"""What is large is loaded at its first use, and missed at the start."""

import subprocess
import sys

import pytest

from meterline_sidecar.later import later

MODULE = "wave"  # of Python's own; nothing of ours loads it


def test_a_module_is_loaded_when_it_is_first_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, MODULE, raising=False)

    library = later(MODULE)

    assert MODULE not in sys.modules
    assert library() is sys.modules[MODULE]
    assert library() is library()


def test_a_package_that_is_missing_is_told_at_once_by_its_name() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package") as raised:
        later("meterline_sidecar.stripe.api", needs="no_such_package")

    assert raised.value.name == "no_such_package"


@pytest.mark.parametrize("package", ["httpx", "jinja2", "prometheus_client", "stripe"])
def test_a_sidecar_without_a_package_says_so_at_its_start(package: str) -> None:
    code = (
        f"import sys; sys.modules[{package!r}] = None; sys.argv = ['meterline', 'run'];"
        "from meterline_sidecar.__main__ import main; main()"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"meterline: {package} is not installed;")
