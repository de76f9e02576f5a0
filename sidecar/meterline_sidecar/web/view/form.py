"""Forms that change something, as templates ask for what stands in them."""

import re
import secrets
from collections.abc import Mapping
from typing import Final

from markupsafe import Markup, escape
from starlette.requests import Request

from meterline_sidecar.web.forms import KEY

KEY_BYTES: Final = 16
ABOUT: Final = re.compile(r"(\w+)(?::| is missing)|.*`(\w+)`$")
"""How a refusal names the field that it is about."""


def new_key() -> str:
    """Return a key that no form has had."""
    return secrets.token_urlsafe(KEY_BYTES)


class Typed(Markup):
    """What somebody typed, in its field: sent again, it is what it was."""


def typed(text: str) -> Typed:
    """Return what somebody typed, for an attribute."""
    return Typed(escape(text))


class Sent:
    """A form that was sent and is shown again, as something is wrong with it.

    Args:
        form: the name of the function that takes it.
        fields: what was typed.
        wrong: what is wrong.
        key: under which it may be sent again.
    """

    def __init__(
        self, form: str, fields: Mapping[str, str], *, wrong: str, status: int, key: str
    ) -> None:
        self.form = form
        self.fields = fields
        self.wrong = wrong
        self.status = status
        self.key = key
        about = ABOUT.match(wrong)
        named = "" if about is None else about[1] or about[2]
        self.about = named
        self.is_told = False
        """Whether a form on the page said what is wrong."""


class Form:
    """A form on a page, as templates ask for what stands in it."""

    def __init__(self, sent: Sent | None) -> None:
        self._sent = sent

    @property
    def key(self) -> Markup:
        """The hidden field with its key."""
        made = new_key() if self._sent is None else self._sent.key
        return Markup(
            '<input type="hidden" name="{}" value="{}" autocomplete="off">'
        ).format(KEY, made)

    @property
    def wrong(self) -> str:
        """What is wrong with it; empty where nothing is."""
        if self._sent is None:
            return ""
        self._sent.is_told = True
        return self._sent.wrong

    def has(self, name: str, otherwise: str = "") -> Markup:
        """Return the attributes of a field: what was typed, and whether it is wrong."""
        if self._sent is None:
            return Typed(' value="{}"').format(otherwise) if otherwise else Markup()
        value = Typed(' value="{}"').format(self._sent.fields.get(name, ""))
        if self._sent.about != name:
            return value
        return value + Markup(' aria-invalid="true" aria-describedby="wrong" autofocus')

    def chosen(self, name: str, value: str) -> Markup:
        """Return the attribute of an option, where somebody had chosen it."""
        is_it = self._sent is not None and self._sent.fields.get(name, "") == value
        return Markup(" selected") if is_it else Markup()


def form_of(request: Request, name: str) -> Form:
    """Return a form of the page that is shown now, by the function that takes it."""
    sent = sent_of(request)
    return Form(sent if sent is not None and sent.form == name else None)


def sent_of(request: Request) -> Sent | None:
    """Return the form whose page is shown again."""
    found: Sent | None = getattr(request.state, "sent", None)
    return found
