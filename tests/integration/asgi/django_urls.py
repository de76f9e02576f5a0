"""A Django project's URLs."""

from typing import Any

from django import urls
from django.http import HttpRequest, HttpResponse

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


untyped: Any = urls
path, include = untyped.path, untyped.include

inner: list[Any] = [path("x/", nested)]
urlpatterns: list[Any] = [
    path("items/<int:pk>/", item),
    path("sync/<int:pk>/", sync_item),
    path("nested/<slug:tenant>/", include(inner)),
]
