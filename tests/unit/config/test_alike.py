"""Two sidecars that were given the same files are told from two that were not."""

from pathlib import Path

from meterline_sidecar.config.alike import differing, digests
from meterline_sidecar.config.read import read_config

METER = '[[meter]]\nname = "calls"\naggregation = "count"\n'
CENTRE = """
[sidecar]
role = "centre"
[centre]
listen = "127.0.0.1:1"
tls_certificate = "one.pem"
tls_key = "one.key"
"""


def said(folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "meterline.toml").write_text(text)
    return digests(read_config(folder / "meterline.toml"))


def test_the_same_files_elsewhere_say_the_same(tmp_path: Path) -> None:
    stripe = '[stripe]\napi_key_file = "key"\n'

    one = said(tmp_path / "one", METER + stripe)
    two = said(tmp_path / "two", CENTRE + METER + stripe)

    assert differing(one, two) == ()


def test_tables_that_differ_are_named(tmp_path: Path) -> None:
    one = said(tmp_path / "one", METER)
    two = said(tmp_path / "two", METER.replace("calls", "hits"))
    three = said(tmp_path / "three", METER + "[billing]\ngrace_hours = 3\n")

    assert differing(one, two) == ("meters",)
    assert differing(one, three) == ("billing",)


def test_of_a_leader_that_says_nothing_all_differs(tmp_path: Path) -> None:
    one = said(tmp_path / "one", METER)

    assert "meters" in differing(one, "")
