"""The page is served to this machine alone, and what stands in its way is one line."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mdpr_fastreid.app.server import listening, need_gradio, upload_folder
from mdpr_fastreid.app.uploads import LARGEST, read_upload
from mdpr_fastreid.cli import build_parser, main
from mdpr_fastreid.errors import UsageError

SIZE = (10_000).to_bytes(4, "little")
HUGE = b"BM" + bytes(8) + b"\x36\0\0\0" + b"\x28\0\0\0" + SIZE * 2 + b"\1\0\x18\0" + bytes(24)
"""The head of a bitmap of 10,000 pixels a side."""


def test_the_default_address_is_this_machines_own():
    args = build_parser("app").parse_args(["app", "gallery.faiss"])
    assert args.host == "127.0.0.1"


def test_an_address_that_is_taken_or_none_is_named():
    with listening("127.0.0.1", 0) as taken:
        assert taken.family == socket.AF_INET
        taken.listen()
        with pytest.raises(UsageError, match=r"127.0.0.1:\d+ cannot be listened on .*: choose another --port"):
            listening("127.0.0.1", taken.getsockname()[1])
    for host, port in (("no such host", 1), ("127.0.0.1", 99_999), ("203.0.113.7", 0)):
        with pytest.raises(UsageError, match="cannot be listened on"):
            listening(host, port)


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "gradio" else found(name))
    with pytest.raises(UsageError, match=r"pip install 'mdpr-fastreid\[app\]'"):
        need_gradio()
    assert main(["app", "gallery.faiss"]) == 2
    assert capsys.readouterr().err == "mdpr app: the page needs Gradio: pip install 'mdpr-fastreid[app]'\n"


def test_the_folder_of_uploads_goes_with_the_page():
    with upload_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        (folder / "upload.png").touch()
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_uploads_are_deleted_however_the_page_is_stopped(number):
    pytest.importorskip("uvicorn", reason="the extra `app` is not installed")
    program = (
        "from mdpr_fastreid.app.server import listening, serve, upload_folder\n"
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n"
        "        await receive()\n"
        "        await send({'type': 'lifespan.startup.complete'})\n"
        "        print(folder, flush=True)\n"
        "        await receive()\n"
        "        await send({'type': 'lifespan.shutdown.complete'})\n"
        "with listening('127.0.0.1', 0) as found, upload_folder() as folder:\n"
        "    serve(app, found)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as running:
        folder = Path(running.stdout.readline().strip())
        assert folder.is_dir() and folder.name.startswith("mdpr-app-")
        running.send_signal(number)
        running.wait(60)
    assert running.returncode != 0 and not folder.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "not of a format that is read"),
        (b"\0" * (LARGEST + 1), "more than 10 MiB"),
        (HUGE, "more than 50 million pixels"),
    ],
)
def test_what_is_no_image_to_search_with_is_refused(content, message):
    with pytest.raises(UsageError, match=message):
        read_upload(content)
