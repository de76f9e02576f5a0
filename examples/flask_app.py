"""A Flask API that is billed by the word.

    pip install flask gunicorn .
    gunicorn examples.flask_app:app

    curl -H "Authorization: Bearer key-of-acme" localhost:8000/words/5

A request without a key that is known is refused, and recorded as nobody's.
"""

from collections.abc import Iterator
from typing import Final

from flask import Flask, Response, abort, jsonify, request

import meterline
from meterline.wsgi import MeterMiddleware

CUSTOMERS: Final = {"key-of-acme": "acme", "key-of-bolt": "bolt"}

app = Flask(__name__)
app.wsgi_app = MeterMiddleware(app.wsgi_app)  # type: ignore[method-assign]  # the one line


@app.before_request
def know_the_customer() -> None:
    """Say who pays, as soon as it is known."""
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer" or key not in CUSTOMERS:
        abort(401)
    meterline.set_subject(CUSTOMERS[key])


@app.post("/summaries")
def summarise() -> Response:
    """Answer with the first words of a text; all of its words are billed."""
    words = str(request.get_json()["text"]).split()
    meterline.record("words", len(words))
    return jsonify(summary=" ".join(words[:2]))


@app.get("/words/<int:n>")
def words(n: int) -> Response:
    """Stream some words: whoever leaves in the middle pays for what was sent."""

    def pieces() -> Iterator[str]:
        for i in range(n):
            meterline.record("words", 1)
            yield f"word {i}\n"

    return Response(pieces(), mimetype="text/plain")
