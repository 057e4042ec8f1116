"""Serves the page: on this machine only unless it is said otherwise."""

import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mdpr_fastreid.errors import UsageError

LOCAL = ("127.0.0.1", "localhost", "::1")
_OFF = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}
_EXTRA = "the page needs Gradio: pip install 'mdpr-fastreid[app]'"


def need_gradio() -> None:
    """Refuse to start without the extra.

    Raises:
        UsageError: Gradio is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("gradio") is None:
        raise UsageError(_EXTRA)


@contextlib.contextmanager
def upload_folder() -> Iterator[Path]:
    """A temporary folder for everything that Gradio writes; has to be open before Gradio is imported."""
    with tempfile.TemporaryDirectory(prefix="mdpr-app-") as folder:
        os.environ.update(_OFF, GRADIO_TEMP_DIR=folder)
        yield Path(folder)


def listening(host: str, port: int) -> socket.socket:
    """The socket that the page is served from.

    Raises:
        UsageError: the address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
    except (OSError, OverflowError) as error:
        found.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"{host}:{port} cannot be listened on ({reason}): choose another --port, or --host") from None
    return found


def make_app(finder, title: str, uploads: Path, host: str):
    """The page as an ASGI application, behind its guard.

    Args:
        finder: a :class:`mdpr_fastreid.app.finder.Finder`.
        title: of the gallery.
        uploads: of :func:`upload_folder`.
        host: that it is served on; under a local one, requests for any other name are refused.
    """
    import fastapi
    import gradio as gr

    from mdpr_fastreid.app.guard import Guard
    from mdpr_fastreid.app.page import CSS, build_page
    from mdpr_fastreid.app.uploads import LARGEST

    fonts = ["system-ui", "sans-serif"]  # and none of another site's
    app = gr.mount_gradio_app(
        fastapi.FastAPI(openapi_url=None),
        build_page(finder, title),
        path="/",
        css=CSS,
        theme=gr.themes.Default(font=fonts, font_mono=["monospace"]),
        max_file_size=LARGEST,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        show_error=False,
        footer_links=[],
    )
    return Guard(app, uploads, {*LOCAL, host} if host in LOCAL else None)


def server_of(app):
    """What runs the application: a ``uvicorn.Server``, whose ``run`` takes sockets."""
    import uvicorn

    return uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", server_header=False))


def serve(app, found: socket.socket) -> None:
    """Run the application until Ctrl-C or SIGTERM, which both end as an exception, so that uploads are deleted."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    server_of(app).run(sockets=[found])
