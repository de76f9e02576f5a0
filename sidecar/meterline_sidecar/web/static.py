"""The files that pages need: read once, served with a name that changes with them."""

from hashlib import sha256
from importlib import resources
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOREVER: Final = "public, max-age=31536000, immutable"


def _read() -> dict[str, tuple[bytes, str]]:
    """Return name to content and media type."""
    folder = resources.files("meterline_sidecar.web") / "static"
    return {
        file.name: (file.read_bytes(), TYPES[file.name[file.name.rindex(".") :]])
        for file in folder.iterdir()
        if file.name.endswith(tuple(TYPES))
    }


FILES: Final = _read()
_VERSIONS: Final = {
    name: sha256(content).hexdigest()[:12] for name, (content, _) in FILES.items()
}


def url_of(name: str) -> str:
    """Return where a file is; another content has another address."""
    return f"/static/{_VERSIONS[name]}/{name}"


async def serve(request: Request) -> Response:
    """Answer one file, to be kept for ever."""
    name: str = request.path_params["name"]
    if _VERSIONS.get(name) != request.path_params["version"]:
        raise HTTPException(404)
    content, media_type = FILES[name]
    return Response(content, media_type=media_type, headers={"Cache-Control": FOREVER})


ROUTES = [Route("/static/{version}/{name}", serve)]
