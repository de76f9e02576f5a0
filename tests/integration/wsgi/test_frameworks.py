"""Flask and Django as WSGI apps, in process and under gunicorn."""

import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask, Response, g, send_file, stream_with_context

import meterline
from meterline.events import Flag
from meterline.wsgi import MeterMiddleware
from tests.fake_sidecar import FakeSidecar
from tests.integration.test_servers import Server, running
from tests.integration.wsgi.conftest import Metered, call

GUNICORN = [
    *(sys.executable, "-m", "gunicorn", "examples.flask_app:app"),
    *("--worker-class", "gthread", "--threads", "4", "--graceful-timeout", "3"),
    "--bind",
]


class User:
    """A user as Flask-Login keeps it."""

    is_authenticated = True

    def get_id(self) -> str:
        return "ada"


@pytest.fixture
def flask_app(metered: Metered) -> Flask:
    app = Flask(__name__)

    @app.get("/items/<int:item_id>")
    def item(item_id: int) -> str:
        meterline.record("tokens", item_id)
        meterline.set_subject("acme")
        return "hello"

    @app.get("/who")
    def who() -> str:
        g._login_user = User()
        return "ada"

    @app.get("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            for _ in range(4):
                meterline.record("tokens", 10)
                yield "word "

        return Response(stream_with_context(pieces()))

    @app.get("/file")
    def file() -> Response:
        return send_file(__file__, mimetype="text/plain")

    @app.get("/fails")
    def fails() -> str:
        raise ZeroDivisionError

    app.wsgi_app = metered(app.wsgi_app)  # type: ignore[method-assign]
    return app


def test_flask_says_route_and_user(flask_app: Flask, sidecar: FakeSidecar) -> None:
    for path in ("/items/5", "/who", "/nope", "/items/5"):
        call(flask_app, path)

    events = sidecar.wait_for_events(4)
    assert [event.route for event in events] == [
        "/items/<int:item_id>",
        "/who",
        None,
        "/items/<int:item_id>",
    ]
    assert [event.subject for event in events] == ["acme", "ada", None, "acme"]
    assert [event.status for event in events] == [200, 200, 404, 200]
    assert events[0].quantities == {"tokens": 5}


def test_the_user_of_flask_login(metered: Metered, sidecar: FakeSidecar) -> None:
    flask_login: Any = pytest.importorskip("flask_login")
    logins: list[str] = []

    class Account(flask_login.UserMixin):  # type: ignore[misc]
        id = "ada"

    def load(request: object) -> Account | None:
        logins.append("asked")
        return Account() if "key" in flask.request.args else None

    def whose() -> str:
        return str(flask_login.current_user.is_authenticated)

    app = Flask(__name__)
    flask_login.LoginManager(app).request_loader(load)
    app.get("/whose")(whose)
    app.get("/open")(lambda: "ok")
    app.wsgi_app = metered(app.wsgi_app)  # type: ignore[method-assign]
    for path, query in (("/whose", "key=1"), ("/whose", ""), ("/open", "key=1")):
        call(app, path, QUERY_STRING=query)

    subjects = [event.subject for event in sidecar.wait_for_events(3)]
    assert subjects == ["ada", None, None]
    assert len(logins) == 2  # a user whom nobody asked for is not looked up


def test_flask_streams_files_and_fails(flask_app: Flask, sidecar: FakeSidecar) -> None:
    call(flask_app, "/stream")
    call(flask_app, "/file")
    call(flask_app, "/fails")
    call(flask_app, "/stream", pieces=1)

    whole, file, failed, left = sidecar.wait_for_events(4)
    assert (whole.quantities, whole.flags) == ({"tokens": 40}, 0)
    assert file.bytes_out == Path(__file__).stat().st_size
    assert failed.status == 500
    assert (left.quantities, left.flags) == ({"tokens": 10}, Flag.INCOMPLETE)


def test_django_says_route_and_user(metered: Metered, sidecar: FakeSidecar) -> None:
    from django import conf

    from tests.integration.asgi import django_urls

    settings: Any = conf.settings
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=django_urls.__name__,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="only for tests",
            DEBUG=False,
        )
    from django.core.wsgi import get_wsgi_application

    app = metered(get_wsgi_application())

    paths = ("/sync/6/", "/who/7/", "/nobody/8/", "/nope/")
    for path in paths:
        call(app, path)

    events = sidecar.wait_for_events(len(paths))
    assert [(event.route, event.subject, event.status) for event in events] == [
        ("/sync/<int:pk>/", None, 200),
        ("/who/<int:pk>/", "7", 200),
        ("/nobody/<int:pk>/", None, 200),
        (None, None, 404),
    ]
    assert events[0].quantities == {"tokens": 6}


# --- under a real server, the example


@pytest.fixture
def gunicorn(tmp_path: Path, sidecar: FakeSidecar) -> Iterator[Server]:
    with running(GUNICORN, tmp_path) as server:
        yield server


@pytest.mark.slow
def test_gunicorn_serves_the_example_and_ends(
    gunicorn: Server, sidecar: FakeSidecar
) -> None:
    body = json.dumps({"text": "one two three"}).encode()
    head = (
        "POST /summaries HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Authorization: Bearer key-of-acme\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )

    answers = [gunicorn.ask(head.encode() + body) for _ in range(5)]
    refused = gunicorn.get("/words/3")
    gunicorn.end(signal.SIGTERM)

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert refused.startswith(b"HTTP/1.1 401")
    events = sidecar.wait_for_events(6)
    assert [event.subject for event in events] == ["acme"] * 5 + [None]
    assert {event.route for event in events} == {"/summaries", "/words/<int:n>"}
    assert {event.bytes_in for event in events[:5]} == {len(body)}
    assert {str(event.quantities) for event in events[:5]} == {"{'words': 3}"}
    assert sidecar.lost == 0


def test_the_middleware_takes_the_options_of_a_meter() -> None:
    with pytest.raises(TypeError, match="no such option: sokcet"):
        MeterMiddleware(lambda environ, start_response: [], sokcet="/x")  # type: ignore[call-arg]
