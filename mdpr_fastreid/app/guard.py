"""What stands before Gradio: the few addresses that the page needs, from the few hosts that it is reached by."""

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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

    A request of the page that names a file is answered only if that file is an upload: Gradio itself does not check it
    in an application that it is mounted in (6.31), and would read any file.

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
        request = Request(scope, receive)
        refusal = self._refusal(request)
        if refusal is None and request.method == "POST" and request.url.path != _UPLOAD:
            try:
                receive = _replayed(self._checked(await request.body()), receive)
            except (ValueError, RecursionError):
                refusal = PlainTextResponse("that is no request of the page", 400)
            except ClientDisconnect:
                return
        await (refusal or self._app)(scope, receive, send)

    def _checked(self, body: bytes) -> bytes:
        """The body, written anew, so that whoever reads it reads what was checked.

        Raises:
            ValueError: it is no JSON, or names a file that is no upload.
        """
        content = json.loads(body.decode()) if body else {}
        folder = os.path.realpath(self._uploads)
        for path in _paths_in(content):
            real = os.path.realpath(path) if isinstance(path, str) and "\0" not in path else ""
            if not real.startswith(f"{folder}{os.sep}") or not os.path.isfile(real):
                raise ValueError("a file that was not uploaded")
        return json.dumps(content).encode()

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


def _paths_in(content: Any) -> Iterator[Any]:
    """What stands under ``path`` anywhere in JSON."""
    if isinstance(content, dict):
        if "path" in content:
            yield content["path"]
        content = list(content.values())
    if isinstance(content, list):
        for part in content:
            yield from _paths_in(part)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A request's body once more, then what else comes."""
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return again


def _host(request: Request) -> str:
    """The name that was asked for, without the port."""
    name = request.headers.get("host", "")
    return (name.rpartition(":")[0] if re.search(r":\d+$", name) else name).strip("[]").lower()
