"""A hook of mkdocs: files outside ``docs/`` that pages link to become files of the site, under ``files/``."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
_ROOT = Path(__file__).parents[1]


def on_files(files, config):
    """Add every file that a page links to, and what is linked there."""
    pages = sorted((_ROOT / "docs").rglob("*.md"))
    added = set()
    for page in pages:  # grows
        for link in _LINK.findall(page.read_text()):
            path = posixpath.normpath((page.parent / link).relative_to(_ROOT).as_posix())
            if path.startswith("docs/") or path in added or not (_ROOT / path).is_file():
                continue  # mkdocs reports what does not exist
            added.add(path)
            files.append(File.generated(config, f"files/{path}", abs_src_path=str(_ROOT / path)))
            if path.endswith(".md"):
                pages.append(_ROOT / path)
    return files


def on_page_markdown(markdown, page, **_):
    """Lead the links there."""
    uri = page.file.src_uri
    here = posixpath.dirname(uri.removeprefix("files/") if uri.startswith("files/") else f"docs/{uri}")

    def in_site(link):
        path = posixpath.normpath(posixpath.join(here, link[1]))
        if not (_ROOT / path).is_file():
            return link[0]
        target = path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}"
        return "](" + posixpath.relpath(target, posixpath.dirname(uri) or ".")

    return _LINK.sub(in_site, markdown)
