"""What ``meterline check`` finds odd about a configuration that can be read."""

import sys
from pathlib import Path

import pytest

from meterline_sidecar.config.advice import advice
from meterline_sidecar.config.read import read_config
from tests.plans import starter

METER = '[[meter]]\nname = "api_calls"\naggregation = "count"\nbill_through = "meter"\n'
CUSTOMER = '[[customer]]\nid = "acme"\nsubjects = ["a"]\nplan = "starter"\n'
PRICING = starter(
    'model = "MODEL"\n'
    'tiers = [ { up_to = 10, unit_amount = "2" }, { unit_amount = "1" } ]'
)
SEND = '[stripe]\nmode = "send"\n'


def told(
    folder: Path, text: str, *, model: str = "graduated", **environment: str
) -> list[str]:
    (folder / "meterline.toml").write_text(text)
    (folder / "pricing.toml").write_text(PRICING.replace("MODEL", model))
    config = read_config(folder / "meterline.toml", environment={})
    return list(advice(config, environment=environment))


def test_a_sound_configuration_gets_no_advice(tmp_path: Path) -> None:
    customer = f'{CUSTOMER}stripe_customer = "cus_1"\n'

    assert told(tmp_path, METER + customer) == []
    seller = '[seller]\nname = "Example Ltd"\n'
    assert told(tmp_path, METER + customer + seller) == []
    assert told(tmp_path, METER + customer + SEND, METERLINE_STRIPE_API_KEY="k") == []


@pytest.mark.parametrize(
    ("text", "package", "extra"),
    [
        ('[archive]\nurl = "s3://bucket/path"\n', "obstore", "archive"),
        (
            '[sidecar]\nrole = "centre"\n[archive]\nedges = ["gs://bucket/path"]\n'
            '[centre]\nlisten = "127.0.0.1:8271"\ntls_certificate = "c.pem"\ntls_key = "k.pem"\n',
            "obstore",
            "archive",
        ),
        (
            '[sidecar]\nrole = "centre"\ndatabase = "postgresql://m@db/meterline"\n'
            '[centre]\nlisten = "127.0.0.1:8271"\ntls_certificate = "c.pem"\ntls_key = "k.pem"\n',
            "asyncpg",
            "centre",
        ),
    ],
)
def test_what_is_configured_and_not_installed_is_told_with_the_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    package: str,
    extra: str,
) -> None:
    customer = f'{CUSTOMER}stripe_customer = "cus_1"\n'
    (tmp_path / "c.pem").touch()
    (tmp_path / "k.pem").touch(0o600)
    assert told(tmp_path, text + METER + customer) == []

    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    (line,) = told(tmp_path, text + METER + customer)

    assert f"needs {package} where the sidecar runs" in line
    assert line.endswith(f": pip install 'meterline[sidecar,{extra}]'")


def test_what_is_sent_by_invoice_alone_gets_no_advice(tmp_path: Path) -> None:
    customer = f'{CUSTOMER}stripe_customer = "cus_1"\n'
    text = METER.replace('"meter"', '"none"') + customer + SEND

    assert told(tmp_path, text + "[[collect]]\n", METERLINE_STRIPE_API_KEY="k") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (METER, "there is no [[customer]]"),
        (METER + '[seller]\naddress = ["Leeds"]\n', "seller.name is missing"),
        (METER + CUSTOMER, "customer acme has no stripe_customer"),
        (METER + CUSTOMER.replace('["a"]', "[]"), "customer acme has no subjects"),
        (METER + CUSTOMER.replace('plan = "starter"', ""), "customer acme has no plan"),
        (METER + CUSTOMER + SEND, "there is no key here"),
        (METER.replace('"meter"', '"none"') + CUSTOMER + SEND, "nothing is sent"),
    ],
)
def test_what_is_odd_is_told(tmp_path: Path, text: str, expected: str) -> None:
    assert any(expected in line for line in told(tmp_path, text))


def test_a_file_without_meters_is_told(tmp_path: Path) -> None:
    (tmp_path / "meterline.toml").write_text(SEND)
    config = read_config(tmp_path / "meterline.toml", environment={})

    assert any("no [[meter]]" in line for line in advice(config, environment={}))


def test_a_price_with_a_cliff_is_told(tmp_path: Path) -> None:
    (cliff,) = told(
        tmp_path, f'{METER}{CUSTOMER}stripe_customer = "cus_1"', model="volume"
    )

    assert cliff.startswith("plan starter, version 1, api_calls: a cliff at 10")


@pytest.mark.parametrize(
    ("mode", "said"),
    [(None, "there is no file"), (0o644, "others can read"), (0o600, None)],
)
def test_a_key_file_is_there_and_for_the_sidecar_alone(
    tmp_path: Path, mode: int | None, said: str | None
) -> None:
    if mode is not None:
        (tmp_path / "key").write_text("sk_test_1")
        (tmp_path / "key").chmod(mode)
    customer = f'{CUSTOMER}stripe_customer = "cus_1"\n'

    found = told(tmp_path, f'{METER}{customer}{SEND}api_key_file = "key"\n')

    assert len(found) == (0 if said is None else 1)
    assert all(said in text for text in found if said)


def test_the_secret_of_a_webhook_is_there(tmp_path: Path) -> None:
    alerts = (
        '[alerts]\nwebhook_url = "https://ops.example.com/"\nsecret_file = "hook"\n'
    )

    customer = f'{CUSTOMER}stripe_customer = "cus_1"\n'

    (found,) = told(tmp_path, f"{METER}{customer}{alerts}")

    assert found.startswith("alerts.secret_file: there is no file")


def test_every_file_of_a_centre_is_there(tmp_path: Path) -> None:
    centre = (
        '[sidecar]\nrole = "centre"\ndatabase = "postgresql://m@db/m"\n'
        'database_password_file = "password"\n[centre]\nlisten = "127.0.0.1:0"\n'
        'tls_certificate = "c.pem"\ntls_key = "c.key"\nclient_ca = "ca.pem"\n'
    )

    found = [
        text.partition(": there is no file")[0]
        for text in told(tmp_path, METER + centre)
    ]

    assert [text for text in found if " " not in text] == [
        "sidecar.database_password_file",
        "centre.tls_certificate",
        "centre.client_ca",
        "centre.tls_key",
    ]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (None, "centre.token_file: there is no file"),
        (0o604, "centre.token_file: others can read"),
        (0o640, None),
    ],
)
def test_an_edge_is_asked_for_its_token_and_for_nothing_that_is_its_centres(
    tmp_path: Path, mode: int | None, said: str | None
) -> None:
    if mode is not None:
        (tmp_path / "token").write_text("mtl_1")
        (tmp_path / "token").chmod(mode)
    edge = (
        '[sidecar]\nrole = "edge"\n[centre]\nurl = "tls://c:1"\ntoken_file = "token"\n'
    )
    (tmp_path / "meterline.toml").write_text(edge)
    config = read_config(tmp_path / "meterline.toml", environment={})

    found = list(advice(config, environment={}))

    assert len(found) == (0 if said is None else 1)
    assert all(text.startswith(said) for text in found if said)
