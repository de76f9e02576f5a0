"""A variable that somebody mistyped is told; what others set is nobody's business."""

import re
from pathlib import Path

import pytest

import meterline
import meterline_sidecar
from meterline_sidecar.config.read import read_config
from meterline_sidecar.config.variables import READ, stray_variables
from meterline_sidecar.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("METERLINE_HTP", "did you mean METERLINE_HTTP?"),
        ("METERLINE_STATEDIR", "did you mean METERLINE_STATE_DIR?"),
        ("meterline_http", "did you mean METERLINE_HTTP?"),
        (
            "METERLINE_REQUIRE_TOKEN",
            "write `require_token` under [sidecar] in the file",
        ),
        ("METERLINE_GRACE_HOURS", "write `grace_hours` under [billing] in the file"),
        ("METERLINE_CENTRE_URL", "write `url` under [centre] in the file"),
    ],
)
def test_a_variable_that_nothing_reads_is_told_with_what_is_meant(
    name: str, told: str
) -> None:
    (line,) = stray_variables({name: "x", "PATH": "/bin"})

    assert line.startswith(f"{name} is set, and nothing reads it")
    assert line.endswith(told)


def test_what_is_read_and_what_others_set_is_not_told() -> None:
    of_kubernetes = (
        *("PORT", "SERVICE_HOST", "SERVICE_PORT", "PORT_8270_TCP"),
        *("PORT_8270_TCP_ADDR", "CENTRE_PORT", "CENTRE_SERVICE_HOST"),
    )
    names = {f"METERLINE_{name}" for name in (*READ, *of_kubernetes)}

    assert list(stray_variables(dict.fromkeys(names, "x"))) == []


def test_every_variable_that_the_code_names_is_known_and_no_other() -> None:
    named = {
        found
        for package in (meterline, meterline_sidecar)
        for file in Path(package.__path__[0]).rglob("*.py")
        if file.name != "variables.py"
        for found in re.findall(r"\bMETERLINE_([A-Z_]+)\b", file.read_text())
    }

    # The shell's completion, and an example of a variable that is none of ours.
    assert named - {"COMPLETE", "PORT_"} == READ


@pytest.mark.parametrize(
    "name",
    ["https://meter.example.com", "meter.example.com:8270", "", "a b", "*.a.com"],
)
def test_a_name_that_no_request_carries_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "meterline.toml"
    file.write_text(f'[sidecar]\nhttp_names = ["meter.example.com", "{name}"]\n')

    with pytest.raises(ConfigError, match=r"sidecar\.http_names\[1\]: expected a host"):
        read_config(file, environment={})
