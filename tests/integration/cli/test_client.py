"""What the client makes of answers, over a Unix socket with one prepared answer."""

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest

from meterline import __version__
from meterline_sidecar.cli.client import Client
from meterline_sidecar.cli.exits import NoSidecar, OtherVersion, Refused
from meterline_sidecar.errors import ConfigError
from meterline_sidecar.web.answers.customers import CustomerPage

Answering = Callable[..., Client]


@pytest.fixture
def answering(tmp_path: Path) -> Answering:
    """Return a function that lets a server give these bodies, and a client for it."""

    def serve(*bodies: str, status: str = "200 OK") -> Client:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def answer() -> None:
            with listener:
                for body in bodies:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65_536)
                        connection.sendall(
                            f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
                            f"Connection: close\r\n\r\n{body}".encode()
                        )

        threading.Thread(target=answer, daemon=True).start()
        return Client(f"unix:{tmp_path / 's'}")

    return serve


def test_whom_a_socket_keeps_out_is_not_told_to_start_a_sidecar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> httpx.Response:
        raise httpx.ConnectError("[Errno 13]") from PermissionError(13, "denied")

    monkeypatch.setattr(httpx.Client, "request", refuse)

    with Client("unix:/s") as client, pytest.raises(NoSidecar, match="may not ask"):
        client.get("/v1/customers", CustomerPage)


def test_a_list_is_read_to_its_last_page(answering: Answering) -> None:
    page = (
        '{"customers": [{"id": "%s", "name": "%s", "owner": "file", "plan": null,'
        ' "plans": [], "anchor": null,'
        ' "own_prices": [],'
        ' "is_taken_out": false, "subjects": [], "address": [], "time_zone": "UTC",'
        ' "starts": null, "ends": null, "stripe_customer": null, "tax_id": null, "email": null}], "next_after": %s}'
    )

    with answering(page % ("a", "A", '"a"'), page % ("b", "B", "null")) as client:
        pages = list(client.pages("/v1/customers", CustomerPage))

    assert [page.customers[0].id for page in pages] == ["a", "b"]


OLD: Final = '{"version": "0.0.9"}'


def test_an_answer_of_another_version_names_both(answering: Answering) -> None:
    with (
        answering('{"customers": [{"id": "a"}], "next_after": null}', OLD) as client,
        pytest.raises(OtherVersion) as raised,
    ):
        client.get("/v1/customers", CustomerPage)

    assert "cannot read (`customers[0].name` is missing); the sidecar is" in str(
        raised.value
    )
    assert f"Meterline 0.0.9, and this command is of {__version__}" in str(raised.value)


@pytest.mark.parametrize(
    "said",
    [
        "unknown parameter `is_open`; known are: limit",
        "`overrides` is an unknown field; known are: id",
        "nothing is at this path; /openapi.json lists what exists",
    ],
)
def test_what_a_sidecar_never_heard_of_is_told_with_both_versions(
    answering: Answering, said: str
) -> None:
    body = json.dumps({"title": "x", "status": 400, "detail": said})

    with (
        answering(body, OLD, status="400 x") as client,
        pytest.raises(
            Refused, match=r"the sidecar is Meterline 0\.0\.9, and"
        ) as raised,
    ):
        client.get("/v1/alerts", CustomerPage)

    assert str(raised.value).startswith(said)


def test_a_sidecar_of_the_same_version_is_not_said_to_be_another(
    answering: Answering,
) -> None:
    body = '{"title": "x", "status": 400, "detail": "unknown parameter `x`"}'
    same = json.dumps({"version": __version__})

    with (
        answering(body, same, status="400 x") as client,
        pytest.raises(Refused, match=r"^unknown parameter `x`$"),
    ):
        client.get("/v1/alerts", CustomerPage)


def test_a_refusal_is_told_in_the_words_of_the_sidecar(answering: Answering) -> None:
    said = '{"title": "Conflict", "status": 409, "detail": "not now"}'

    with (
        answering(said, status="409 Conflict") as client,
        pytest.raises(Refused, match=r"^not now$"),
    ):
        client.get("/v1/customers", CustomerPage)


def test_a_missing_token_is_told_with_where_it_goes(answering: Answering) -> None:
    said = '{"title": "Unauthorized", "status": 401, "detail": "a token is needed"}'

    with (
        answering(said, status="401 Unauthorized") as client,
        pytest.raises(Refused, match="needed; set METERLINE_TOKEN to a token"),
    ):
        client.get("/v1/customers", CustomerPage)


def test_an_answer_of_another_shape_is_another_version(answering: Answering) -> None:
    with (
        answering('{"customers": 5, "next_after": null}', "{}") as client,
        pytest.raises(OtherVersion, match="install the same version"),
    ):
        client.get("/v1/customers", CustomerPage)


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
@pytest.mark.parametrize("body", ["<html>", ""])
def test_a_page_of_somebody_else_is_no_sidecar(
    answering: Answering, status: str, body: str
) -> None:
    with (
        answering(body, status=status) as client,
        pytest.raises(NoSidecar, match="is not a Meterline sidecar"),
    ):
        client.get("/v1/customers", CustomerPage)


def test_a_sidecar_that_is_stopped_while_it_answers_is_told(
    answering: Answering,
) -> None:
    with (
        answering(
            "Internal Server Error", status="500 Internal Server Error"
        ) as client,
        pytest.raises(NoSidecar, match="was stopped before it had answered"),
    ):
        client.get("/v1/customers", CustomerPage)


def test_an_error_in_other_words_is_no_sidecar(answering: Answering) -> None:
    with (
        answering('{"error": "x"}', status="500 Oops") as client,
        pytest.raises(NoSidecar, match="is not a Meterline sidecar"),
    ):
        client.get("/v1/customers", CustomerPage)


@pytest.mark.parametrize("token", ["mtl_a b", "mtl_é", "mtl_a\tb", "mtl_\x07"])
def test_what_can_be_no_token_is_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("METERLINE_TOKEN", token)

    with pytest.raises(ConfigError, match="METERLINE_TOKEN: there is a letter") as told:
        Client("unix:/s")

    assert "mtl_" not in str(told.value)


@pytest.mark.parametrize(("said", "sent"), [("mtl_a\r\n", "Bearer mtl_a"), (" ", None)])
def test_the_end_of_a_line_is_no_part_of_a_token(
    monkeypatch: pytest.MonkeyPatch, said: str, sent: str | None
) -> None:
    headers: list[str | None] = []

    def request(client: httpx.Client, *_: object, **__: object) -> httpx.Response:
        headers.append(client.headers.get("Authorization"))
        raise httpx.ConnectError("nobody")

    monkeypatch.setenv("METERLINE_TOKEN", said)
    monkeypatch.setattr(httpx.Client, "request", request)

    with Client("unix:/s") as client, pytest.raises(NoSidecar):
        client.get("/v1/customers", CustomerPage)

    assert headers == [sent]


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:x", ""])
def test_a_url_that_is_none_is_nobodys(url: str) -> None:
    with pytest.raises(NoSidecar, match="no sidecar answers at"), Client(url) as client:
        client.get("/v1/customers", CustomerPage)


@pytest.mark.parametrize("kind", [httpx.ReadTimeout, httpx.WriteTimeout])
def test_who_does_not_answer_in_time_may_have_done_it(
    monkeypatch: pytest.MonkeyPatch, kind: type[httpx.TimeoutException]
) -> None:
    def request(*_: object, **__: object) -> httpx.Response:
        raise kind("timed out")

    monkeypatch.setattr(httpx.Client, "request", request)

    with Client("unix:/s") as client, pytest.raises(NoSidecar, match=r"look .* before"):
        client.get("/v1/customers", CustomerPage)
