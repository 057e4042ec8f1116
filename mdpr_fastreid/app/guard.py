"""What stands before Gradio: the few addresses that the page needs, from the few hosts that it is reached by."""

import re
from collections.abc import Collection
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from mdpr_fastreid.app.uploads import LARGEST, MOST, make_room

API = "/gradio_api"
_UPLOAD = f"{API}/upload"
_READ = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(static|assets|svelte)/[\w./@~+-]+|"
    rf"{API}/(startup-events|queue/data|heartbeat/\w+|upload_progress|info)"
)
_WRITE = re.compile(rf"{API}/(upload|queue/join|cancel|reset)/?")
_ENVELOPE = 4096
"""Bytes that a form takes around its file."""
_LARGEST_REQUEST = 2**20
"""Bytes of any other request."""


class Guard:
    """Answers 404 to every address that the page does not use, above all those that serve files, and limits uploads.

    Args:
        app: what answers the rest.
        uploads: the folder that uploads are kept in.
        hosts: names that the page may be asked for by, so that no other site's name leads here; None for any.
    """

    def __init__(self, app: ASGIApp, uploads: Path, hosts: Collection[str] | None) -> None:
        self._app, self._uploads, self._hosts = app, uploads, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page has no sockets
        refusal = self._refusal(Request(scope))
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        path = request.url.path
        if self._hosts is not None and _host(request) not in self._hosts:
            return PlainTextResponse("this page is not served under that name", 421)
        pattern = _READ if request.method in ("GET", "HEAD") else _WRITE if request.method == "POST" else None
        # Encoded or not: the server has decoded the path before
        if pattern is None or not pattern.fullmatch(path) or ".." in path or "//" in path:
            return PlainTextResponse("not found", 404)
        if request.method != "POST":
            return None
        length = request.headers.get("content-length", "")
        if not length.isdecimal():
            return PlainTextResponse("the length of what is sent must be said", 411)
        if int(length) > (LARGEST + _ENVELOPE if path == _UPLOAD else _LARGEST_REQUEST):
            return PlainTextResponse("that is too large", 413)
        if path == _UPLOAD and not make_room(self._uploads):
            return PlainTextResponse(f"{MOST} uploads are kept already: wait some minutes", 429)
        return None


def _host(request: Request) -> str:
    """The name that was asked for, without the port."""
    name = request.headers.get("host", "")
    return (name.rpartition(":")[0] if re.search(r":\d+$", name) else name).strip("[]").lower()
