"""``mdpr app``: a page to search a gallery with, in the browser."""

import argparse
from pathlib import Path

from mdpr_fastreid.cli.model_options import add_place_arguments
from mdpr_fastreid.errors import printable

HELP = "serve a page to search a gallery with and to mark hits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("gallery", metavar="GALLERY", help="gallery.faiss, gallery.npz, a Milvus file or address")
    add_place_arguments(parser, "the gallery's own")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on; another one lets others in")
    parser.add_argument("--port", type=int, default=7860, metavar="N", help="0 for any that is free")


def run(args: argparse.Namespace) -> int:
    """Open, load, serve."""
    from mdpr_fastreid.app.server import LOCAL, listening, make_app, need_gradio, serve, upload_folder

    need_gradio()
    from mdpr_fastreid.app.opening import open_finder

    with listening(args.host, args.port) as found, open_finder(args) as finder, upload_folder() as uploads:
        app = make_app(finder, Path(args.gallery).name, uploads, args.host)
        if args.host not in LOCAL:
            print(f"everybody who reaches {printable(args.host)} can see the gallery's images; there is no password")
        host, port = found.getsockname()[:2]
        print(f"http://{f'[{host}]' if ':' in host else host}:{port} until Ctrl-C", flush=True)
        serve(app, found)
    return 0
