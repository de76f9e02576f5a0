"""PDF files of documents, made of their HTML by WeasyPrint: the extra ``pdf``."""

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from meterline_sidecar.errors import NotInstalled, installing

PACKAGE: Final = "weasyprint"
LIBRARIES: Final = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
"""What WeasyPrint asks the system for, as Debian calls it."""

# They tell of every property that they do not know.
for noisy in (PACKAGE, "fontTools"):
    logging.getLogger(noisy).setLevel(logging.ERROR)


def pdf_of(html: str) -> bytes:
    """Return a page as a PDF. It takes a second or so: ask in a thread.

    Nothing is fetched for it: what the page needs stands in it.

    Raises:
        NotInstalled: WeasyPrint, or a library that it needs, is not there.
    """
    if find_spec(PACKAGE) is None:
        raise NotInstalled(f"a PDF is made by WeasyPrint: {installing('pdf')}")
    try:
        weasyprint: Any = import_module(PACKAGE)
    except OSError as error:
        raise NotInstalled(
            "a PDF is made with Pango, which this system does not have: install"
            f" {LIBRARIES} and fonts, as fonts-dejavu-core ({_first_line(error)})"
        ) from error
    urls: Any = import_module(f"{PACKAGE}.urls")
    refuse = urls.URLFetcher(allowed_protocols=())
    made: bytes = weasyprint.HTML(string=html, url_fetcher=refuse).write_pdf()
    return made


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
