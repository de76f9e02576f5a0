"""A Django project's URLs."""

from typing import Any

from django import urls
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

import meterline


async def item(request: HttpRequest, pk: int) -> HttpResponse:
    meterline.record("tokens", pk)
    meterline.set_subject("acct_django")
    return HttpResponse(b"hello")


def sync_item(request: HttpRequest, pk: int) -> HttpResponse:
    meterline.record("tokens", pk)
    return HttpResponse(b"hello")


def nested(request: HttpRequest, tenant: str) -> HttpResponse:
    return HttpResponse(tenant.encode())


class User:
    """A user as Django's authentication gives it."""

    is_authenticated = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


def asks_who(request: Any, pk: int) -> HttpResponse:
    """Answer with the user, as a project with sessions has it."""
    lazy: Any = SimpleLazyObject(lambda: User(pk))
    request.user = lazy
    return HttpResponse(str(lazy.pk).encode())


def asks_nobody(request: Any, pk: int) -> HttpResponse:
    """Answer without a look at the user."""
    lazy: Any = SimpleLazyObject(lambda: User(pk))
    request.user = lazy
    return HttpResponse(b"hello")


untyped: Any = urls
path, include = untyped.path, untyped.include

inner: list[Any] = [path("x/", nested)]
urlpatterns: list[Any] = [
    path("items/<int:pk>/", item),
    path("sync/<int:pk>/", sync_item),
    path("who/<int:pk>/", asks_who),
    path("nobody/<int:pk>/", asks_nobody),
    path("nested/<slug:tenant>/", include(inner)),
]
