"""A hook of mkdocs: the results in ``projects/`` that pages link to become files of the site, under ``files/``."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

_LINK = re.compile(r"\]\((?:\.\./)+(projects/[^)#\s]+)")


def on_files(files, config):
    """Add every file that a page links to."""
    root = Path(config.config_file_path).parent
    linked = {path for page in files.documentation_pages() for path in _LINK.findall(page.content_string)}
    for path in sorted(linked):
        if not (root / path).is_file():  # mkdocs reports the link
            continue
        files.append(File.generated(config, f"files/{path}", abs_src_path=str(root / path)))
    return files


def on_page_markdown(markdown, page, **_):
    """Lead the links there."""
    folder = posixpath.dirname(page.file.src_uri) or "."
    return _LINK.sub(lambda link: "](" + posixpath.relpath(f"files/{link[1]}", folder), markdown)
