"""Who used it: nobody decides that but the app."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from starlette.authentication import BaseUser, SimpleUser, UnauthenticatedUser

import meterline
from meterline import subjects
from meterline.wsgi import MeterMiddleware as WsgiMiddleware
from tests.asgi_driver import http_scope

KEY = "a secret of the installation"


@dataclass
class Account:
    """A user object as an ORM makes it."""

    id: int


class Nameless(BaseUser):
    """A user of whom Starlette itself does not know the name."""

    @property
    def is_authenticated(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("acct_1", "acct_1"),
        (42, "42"),
        (SimpleUser("ann"), "ann"),
        (Account(7), "7"),
        ({"sub": "auth0|5"}, "auth0|5"),
        ({"id": UUID(int=1)}, str(UUID(int=1))),
        (UnauthenticatedUser(), None),
        (Nameless(), None),
        (None, None),
        ("", None),
        (True, None),
        (1.5, None),
        (object(), None),
    ],
)
@pytest.mark.parametrize(
    "place", ["user", "auth", "state.user", "state.subject", "from_user", "from_state"]
)
def test_the_authenticated_user_is_the_subject(
    user: Any, subject: str | None, place: str
) -> None:
    scope = http_scope()
    resolve: subjects.Resolver = subjects.default
    match place.split("."):
        case ["state", name]:
            scope["state"][name] = user
        case ["from_user"]:
            scope["user"], resolve = user, meterline.from_user()
        case ["from_state"]:
            scope["state"]["who"], resolve = user, meterline.from_state("who")
        case _:
            scope[place] = user

    assert resolve(scope) == subject


def test_by_default_no_header_decides_who_pays() -> None:
    headers = [
        (name, "acct_victim")
        for name in ("authorization", "x-user", "x-api-key", "user", "cookie")
    ]

    assert subjects.default(http_scope(headers=headers)) is None


def test_an_api_key_becomes_a_keyed_digest_that_does_not_hold_it() -> None:
    resolve = meterline.from_api_key(key=KEY)
    scope = http_scope(headers=[("Authorization", "Bearer sk_live_very_secret")])

    subject = resolve(scope)

    assert subject == meterline.api_key_subject("sk_live_very_secret", key=KEY)
    assert subject is not None
    assert subject.startswith("key_")
    assert "secret" not in subject
    assert subject != meterline.api_key_subject("sk_live_very_secret", key=KEY + "!")


def test_a_key_in_a_header_of_its_own_is_taken_whole() -> None:
    resolve = meterline.from_api_key("x-api-key", key=KEY)
    scope = http_scope(headers=[("X-Api-Key", "one two")])

    assert resolve(scope) == meterline.api_key_subject("one two", key=KEY)


@pytest.mark.parametrize(
    "headers", [[], [("authorization", "")], [("authorization", "a")] * 2]
)
def test_a_missing_or_doubled_api_key_is_nobodys(
    headers: list[tuple[str, str]],
) -> None:
    assert meterline.from_api_key(key=KEY)(http_scope(headers=headers)) is None


def test_without_a_secret_there_is_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METERLINE_SUBJECT_KEY", raising=False)
    with pytest.raises(ValueError, match="METERLINE_SUBJECT_KEY"):
        meterline.from_api_key()
    with pytest.raises(ValueError, match="16 bytes"):
        meterline.from_api_key(key="short")

    monkeypatch.setenv("METERLINE_SUBJECT_KEY", KEY)
    scope = http_scope(headers=[("authorization", "x")])

    assert meterline.from_api_key()(scope) == meterline.api_key_subject("x", key=KEY)


@pytest.mark.parametrize(
    ("values", "subject"),
    [
        (["acct_1"], "acct_1"),
        ([" acct_1 "], "acct_1"),
        (["acct_1", "acct_1"], None),
        (["acct_1", "acct_2"], None),
        (["acct_1, acct_2"], None),
        (["acct_\xe9"], None),
        ([""], None),
        ([], None),
    ],
)
def test_a_trusted_header_must_have_exactly_one_value(
    values: list[str], subject: str | None
) -> None:
    resolve = meterline.from_trusted_header("X-Account")
    headers = [("x-account", value) for value in values]

    assert resolve(http_scope(headers=headers)) == subject


def _itself(column: object) -> object:
    return column


class Row:
    """An object of SQLAlchemy after a commit: its columns are expired.

    It keeps the key of its row; asking it for more would ask the database.
    """

    def __init__(self, *key: str, identity: tuple[Any, ...], **loaded: Any) -> None:
        columns = [SimpleNamespace(key=name) for name in key]
        mapper = SimpleNamespace(
            attrs=dict.fromkeys((*key, "username", *loaded)),
            primary_key=tuple(columns),
            get_property_by_column=_itself,
        )
        self._sa_instance_state = SimpleNamespace(mapper=mapper, identity=identity)
        vars(self).update(loaded)

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"asked the database for {name}")


class Mapped(Row):
    """One that has no attributes but the mapped ones."""

    def __getattr__(self, name: str) -> Any:
        if name in self._sa_instance_state.mapper.attrs:
            raise AssertionError(f"asked the database for {name}")
        raise AttributeError(name)


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        (Mapped("id", identity=(7,)), "7"),
        (Mapped("id", identity=(7,), id=7), "7"),
        (Mapped("pk", identity=("a",)), "a"),
        (Mapped("number", identity=(7,), username="ann"), "ann"),
    ],
)
def test_a_row_that_a_commit_expired_is_known_by_its_key(
    user: Any, subject: str
) -> None:
    assert subjects.default({"user": user}) == subject


@pytest.mark.parametrize(
    "user",
    [
        Mapped("number", identity=(7,)),
        Mapped("id", "tenant", identity=(7, 8)),
        Mapped("number", identity=(7,), id=None),
    ],
)
def test_a_row_that_is_not_known_by_its_key_is_not_taken_for_another(
    user: Any,
) -> None:
    with pytest.raises(LookupError, match="expired"):
        subjects.default({"user": user})


async def looked_up(scope: Any) -> str:
    return str(scope)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("x-api-key", "must be a function that says who used it, not 'x-api-key'"),
        ("", "must be a function"),
        (meterline.from_user, "from_user makes a resolver: call it"),
        (looked_up, "must not be async"),
    ],
)
@pytest.mark.parametrize(
    "middleware", [meterline.MeterMiddleware, WsgiMiddleware], ids=["asgi", "wsgi"]
)
def test_what_can_be_no_resolver_is_refused_at_once(
    middleware: Any, given: object, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        middleware(looked_up, subject=given)
