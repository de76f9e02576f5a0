"""Secrets come from where they should, and show nowhere."""

import logging
import pickle
from pathlib import Path

import pytest

from meterline_sidecar.access.secret import Secret, SecretSource
from meterline_sidecar.errors import ConfigError

CANARY = "sk_live_canary_4242"


def source(file: Path | None, environ: dict[str, str]) -> SecretSource:
    return SecretSource(
        file=file,
        setting="stripe.api_key_file",
        variable="STRIPE_KEY",
        credential="stripe",
        environ=environ,
    )


def test_a_secret_shows_in_no_text(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(CANARY)
    logging.getLogger("test").error("key %s", secret)

    texts = [repr(secret), str(secret), f"{secret}", repr([secret]), caplog.text]

    assert not any(CANARY in text for text in texts)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_a_rotated_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk_test_one\n")
    keys = source(file, {})
    first = keys.read()
    file.write_text("sk_test_two\n")

    assert (first, keys.read()) == (Secret("sk_test_one"), Secret("sk_test_two"))


def test_the_environment_is_emptied_for_the_children() -> None:
    environ = {"STRIPE_KEY": CANARY, "PATH": "/bin"}

    assert source(None, environ).read() == Secret(CANARY)
    assert environ == {"PATH": "/bin"}


def test_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk_test_file")
    environ = {"STRIPE_KEY": CANARY}

    assert source(file, environ).read() == Secret("sk_test_file")
    assert environ == {}


def test_systemd_hands_a_credential(tmp_path: Path) -> None:
    (tmp_path / "stripe").write_text(CANARY)

    keys = source(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)})

    assert keys.read() == Secret(CANARY)


def test_no_key_is_none() -> None:
    assert source(None, {}).read() is None


@pytest.mark.parametrize("text", ["", "two words", "s\u00fc\u00df"])
def test_a_file_without_one_key_is_refused_without_showing_it(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)

    with pytest.raises(ConfigError) as caught:
        source(file, {}).read()

    assert str(file) in str(caught.value)
    assert not text or text not in str(caught.value)


def test_a_missing_file_is_named_with_the_key_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        source(tmp_path / "nowhere", {}).read()

    assert str(caught.value) == (
        f"stripe.api_key_file: {tmp_path}/nowhere: No such file or directory; put the"
        " secret there, for this user to read"
    )


def test_a_credential_that_holds_no_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "stripe").write_text("two words")

    with pytest.raises(ConfigError, match=r"the credential stripe: .* one key and"):
        source(None, {"CREDENTIALS_DIRECTORY": str(tmp_path)}).read()


def test_several_keys_stand_one_on_a_line_where_there_may_be_several(
    tmp_path: Path,
) -> None:
    file = tmp_path / "keys"
    file.write_text("whsec_one\n\nwhsec_two\n")

    assert source(file, {}).read_each() == (Secret("whsec_one"), Secret("whsec_two"))
    given = source(None, {"STRIPE_KEY": "whsec_one whsec_two"})
    assert len(given.read_each()) == 2
    assert source(None, {}).read_each() == ()
    with pytest.raises(ConfigError, match="one key and nothing else"):
        source(file, {}).read()
    file.write_text("\n")
    with pytest.raises(ConfigError, match="a key on each line"):
        source(file, {}).read_each()
