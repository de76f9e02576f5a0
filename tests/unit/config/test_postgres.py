"""The address of a ledger on a server."""

from pathlib import Path

import pytest

from meterline_sidecar.config.postgres import PostgresUrl
from meterline_sidecar.config.read import read_config
from meterline_sidecar.errors import ConfigError

CENTRE = """
[centre]
listen = "127.0.0.1:1"
tls_certificate = "a"
tls_key = "b"
"""


def written(folder: Path, url: str, more: str = 'role = "centre"' + CENTRE) -> Path:
    file = folder / "meterline.toml"
    file.write_text(f'[sidecar]\ndatabase = "{url}"\n{more}')
    return file


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:secret@h/n", "must not hold the password"),
        ("postgresql://u@h/n?password=secret", "must not hold the password"),
        ("postgresql://u@h", "names no database"),
        ("postgresql://u@h:x/n", "no address"),
    ],
)
def test_an_address_that_will_not_do_is_refused_without_its_password(
    tmp_path: Path, url: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        read_config(written(tmp_path, url), environment={})
    assert "secret" not in str(refused.value)

    with pytest.raises(ConfigError, match=message) as refused:
        read_config(
            written(tmp_path, "meterline.db"), environment={"METERLINE_DATABASE": url}
        )
    assert "secret" not in str(refused.value)


def test_only_a_centre_has_its_ledger_on_a_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='write role = "centre"'):
        read_config(written(tmp_path, "postgresql://u@h/n", ""), environment={})


def test_the_files_beside_such_a_ledger_are_on_this_host(tmp_path: Path) -> None:
    keys = 'database_files = "here/l"\ndatabase_password_file = "secret"\n'
    config = read_config(
        written(tmp_path, "postgresql://u@h/n", keys + 'role = "centre"' + CENTRE),
        environment={},
    )

    assert config.ledger == PostgresUrl("postgresql://u@h/n", tmp_path / "secret")
    assert str(config.ledger) == "postgresql://u@h/n"
    assert config.sidecar.database == tmp_path / "here" / "l"
    assert not config.has_ledger
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "l.key").touch()
    assert config.has_ledger


def test_a_ledger_in_a_file_is_where_it_was(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, "m.db", ""), environment={})

    assert config.ledger == config.sidecar.database == tmp_path / "m.db"
    assert config.server is None
