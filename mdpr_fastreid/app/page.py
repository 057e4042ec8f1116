"""The page: what it consists of, and what happens when something of it is used."""

import base64
import functools
import html
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr
from PIL import Image

from mdpr_fastreid.app.cards import card, picture_of, shown
from mdpr_fastreid.app.finder import Finder, Query
from mdpr_fastreid.app.marks import MANIFEST, QUERY, RIGHT, WRONG, Mark, Marks
from mdpr_fastreid.app.uploads import LARGEST, read_upload
from mdpr_fastreid.data.reading import FORMATS
from mdpr_fastreid.errors import UsageError, one_line
from mdpr_fastreid.pictures.attention_sheet import map_title
from mdpr_fastreid.pictures.canvas import framed
from mdpr_fastreid.search import Hit

MOST_HITS = 24
_COUNTS = (6, 12, MOST_HITS)
_IMAGE = "the image"
_UNKNOWN = "unknown"
_CHOICES = {RIGHT: "✓ same", WRONG: "✗ other"}
CSS = """
.hit { margin: 0; width: 104px; }
.hit img { width: 96px; height: 192px; border-radius: 4px; display: block; }
.hit figcaption { font-size: 12px; line-height: 1.4; overflow-wrap: anywhere; }
.soft { opacity: .75; }
.slot { flex: 0 0 124px !important; min-width: 124px !important; gap: 6px !important; }
.slot:not(:has(img)) { display: none !important; }
.mark label { padding: 3px 8px !important; font-size: 12px; width: 104px; }
.mark .wrap { gap: 4px; }
.slot button { width: 104px; }
.slots { display: flex !important; flex-wrap: wrap !important; gap: 12px; }
.said { min-height: 1.6em; }
footer { display: none !important; }
"""


@dataclass
class Looking:
    """What one visitor sees; lives as long as the page is open."""

    query: Query | None = None
    hits: list[Hit] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    pictures: dict[str, Image.Image | None] = field(default_factory=dict)

    def picture(self, path: str) -> Image.Image | None:
        """A hit's picture, read once."""
        if path not in self.pictures:
            self.pictures[path] = picture_of(path)
        return self.pictures[path]


def build_page(finder: Finder, title: str) -> gr.Blocks:
    """The page over a gallery.

    Args:
        finder: what searches.
        title: of the gallery.
    """
    return _Page(finder, title).blocks


class _Page:
    def __init__(self, finder: Finder, title: str) -> None:
        self.finder = finder
        self.looks = [_IMAGE, *finder.looks()]
        self.cameras = {camera or _UNKNOWN: camera for camera in finder.cameras}
        with gr.Blocks(title=f"Search {title}", analytics_enabled=False, fill_width=True) as self.blocks:
            self.state = gr.State(Looking())
            gr.Markdown(f"## Search {html.escape(title)}\n{finder.store.count():,} images")
            with gr.Row():
                with gr.Column(scale=1, min_width=260):
                    self._controls()
                with gr.Column(scale=4):
                    with gr.Row(equal_height=True):
                        self.said = gr.Markdown("", elem_id="said", elem_classes="said")
                        self.person = gr.Textbox(
                            "person-1", label="name of the person, for marks", max_length=100, elem_id="person"
                        )
                        self.link = gr.HTML(elem_id="marks")
                    self._slots()
            self._wire()

    def _controls(self) -> None:
        types = [f".{name.lower()}" for name in (*FORMATS, "JPG", "TIF")]
        self.upload = gr.File(
            label=f"A query: an image of up to {LARGEST // 2**20} MiB",
            type="binary",
            file_types=types,
            visible=self.finder.can_embed,
            height=160,
            elem_id="upload",
        )
        self.others = gr.Button("Show images of the gallery", size="sm", elem_id="others")
        self.query = gr.HTML(elem_id="query")
        self.count = gr.Dropdown(list(_COUNTS), value=12, label="hits", elem_id="count")
        self.camera = gr.Dropdown(
            list(self.cameras), multiselect=True, label="cameras (none chosen: all)", elem_id="cameras"
        )
        self.differs = gr.Checkbox(label="not the query's own camera", elem_id="differs")
        self.rerank = gr.Checkbox(label="re-rank", visible=self.finder.can_rerank, elem_id="rerank")
        self.look = gr.Radio(
            [(_title(look), look) for look in self.looks],
            value=_IMAGE,
            label="show",
            visible=len(self.looks) > 1,
            elem_id="look",
        )

    def _slots(self) -> None:
        self.cards, self.kinds, self.again = [], [], []
        with gr.Row(elem_classes="slots"):
            for number in range(MOST_HITS):
                with gr.Column(elem_classes="slot", elem_id=f"slot-{number + 1}", min_width=132):
                    self.cards.append(gr.HTML(visible=False, elem_id=f"hit-{number + 1}"))
                    choices = [(word, kind) for kind, word in _CHOICES.items()]
                    name = f"mark-{number + 1}"
                    self.kinds.append(
                        gr.Radio(
                            choices, show_label=False, container=False, visible=False, elem_id=name, elem_classes="mark"
                        )
                    )
                    self.again.append(gr.Button("Search this", size="sm", visible=False, elem_id=f"again-{number + 1}"))

    def _wire(self) -> None:
        settings = [self.count, self.camera, self.differs, self.rerank, self.look, self.person]
        results = [self.state, self.upload, self.said, self.query, self.link, *self.cards, *self.kinds, *self.again]

        def on(event: Callable, work: Callable, *inputs: Any) -> None:
            event(
                self._answering(work),
                [self.state, *settings, *inputs],
                results,
                api_visibility="private",
                show_progress="minimal",
                show_progress_on=[self.said],
            )

        on(self.blocks.load, self._begin)
        on(self.others.click, self._begin)
        on(self.upload.upload, self._uploaded, self.upload)
        for setting in (self.count, self.camera, self.differs, self.rerank):
            on(setting.input, self._search)
        on(self.look.input, self._nothing)
        on(self.person.blur, self._named)
        for number, (kind, again) in enumerate(zip(self.kinds, self.again, strict=True)):
            on(again.click, functools.partial(self._picked, number))
            on(kind.input, functools.partial(self._marked, number), kind)

    def _answering(self, work: Callable[..., str]) -> Callable[..., list]:
        """What Gradio calls: it does the work, and a mistake of the user's is a line on the page."""

        def answer(
            looking: Looking, count: Any, cameras: Any, differs: Any, rerank: Any, look: str, person: str, *more
        ):
            """What is shown after an event, from the values of the page's inputs."""
            settings = {
                "count": int(count),
                "cameras": [self.cameras[name] for name in cameras or ()],
                "other_cameras": bool(differs),
                "rerank": bool(rerank),
            }
            try:
                said = work(looking, settings, person.strip(), *more)
            except UsageError as error:
                said = f"**{html.escape(one_line(error))}**"
            return [looking, None, said, *self._drawn(looking, look, person.strip())]

        return answer

    def _begin(self, looking: Looking, settings: dict, person: str) -> str:
        looking.query, looking.hits = None, self.finder.some(settings["count"], random.randrange(2**31))
        upload = " or upload one" if self.finder.can_embed else ""
        return f"Images of the gallery: take one as the query{upload}."

    def _uploaded(self, looking: Looking, settings: dict, person: str, content: bytes | None) -> str:
        looking.query = self.finder.uploaded(read_upload(content or b""))
        return self._search(looking, settings, person)

    def _picked(self, number: int, looking: Looking, settings: dict, person: str) -> str:
        if number >= len(looking.hits):
            raise UsageError("there is no image at that place any more")
        looking.query = self.finder.named(looking.hits[number])
        return self._search(looking, settings, person)

    def _search(self, looking: Looking, settings: dict, person: str) -> str:
        if looking.query is None:
            return self._begin(looking, settings, person)
        looking.hits = self.finder.find(looking.query, **settings)
        looking.pictures = {}
        where = " of other cameras" if settings["other_cameras"] and looking.query.camera else ""
        order = ", re-ranked" if settings["rerank"] and self.finder.can_rerank else ""
        return f"{len(looking.hits)} hits{where}{order}, the most similar first; the number is the cosine similarity."

    def _marked(self, number: int, looking: Looking, settings: dict, person: str, kind: str | None) -> str:
        if number >= len(looking.hits) or looking.query is None:
            raise UsageError("search first: marks say whether a hit is the query's person")
        hit, query = looking.hits[number], looking.query
        if kind is None:
            looking.marks.drop(hit.path, person)
        else:
            looking.marks.put(Mark(hit.path, hit.camera, person, kind))
            if query.path:
                looking.marks.put(Mark(query.path, query.camera, person, QUERY))
        return f"{len(looking.marks)} images are marked."

    def _named(self, looking: Looking, settings: dict, person: str) -> str:
        return f"Marks are of {html.escape(person)} now." if person else "Marks need a name."

    def _nothing(self, looking: Looking, settings: dict, person: str) -> str:
        return ""

    def _drawn(self, looking: Looking, look: str, person: str) -> list:
        """The query, the link to the marks, and for each place its image, mark and button."""
        pictures = [looking.picture(hit.path) for hit in looking.hits]
        query = None
        if looking.query is not None:
            query = looking.query.picture or looking.picture(looking.query.path)
        maps = iter(self._maps([one for one in (query, *pictures) if one is not None], look))

        def drawn(picture: Image.Image | None, path: str) -> Image.Image:
            return shown(picture, path, next(maps, None) if picture is not None else None, look)

        head = ""
        if looking.query is not None:
            name = looking.query.name or "uploaded image"
            head = card(drawn(query, looking.query.path), ["query", name], f"query {name}")
        kinds = [looking.marks.kind_of(hit.path, person) for hit in looking.hits]
        cells = []
        for rank, (hit, picture, kind) in enumerate(zip(looking.hits, pictures, kinds, strict=True), start=1):
            cell = drawn(picture, hit.path)
            cell = framed(cell, kind == RIGHT) if kind in _CHOICES else cell
            cells.append(card(cell, self._lines(rank, hit, looking.query), f"rank {rank}, {hit.name}"))
        return [head, _link(looking.marks), *_places(cells, kinds, looking.query is not None)]

    def _maps(self, pictures: Sequence[Image.Image], look: str) -> Sequence:
        return [] if look == _IMAGE or look not in self.looks or not pictures else self.finder.maps(pictures)

    @staticmethod
    def _lines(rank: int, hit: Hit, query: Query | None) -> list[str]:
        camera = f"camera {hit.camera}" if hit.camera else "camera unknown"
        first = camera if query is None else f"{rank}: {hit.score:.3f}"
        return [first, *([] if query is None else [camera]), hit.name]


def _places(cells: Sequence[str], kinds: Sequence[str | None], searched: bool) -> list:
    empty = MOST_HITS - len(cells)
    marks = [kind if kind in _CHOICES else None for kind in kinds]
    return [
        *(gr.HTML(cell, visible=True) for cell in cells),
        *[gr.HTML("", visible=False)] * empty,
        *(gr.Radio(value=mark, visible=searched) for mark in marks),
        *[gr.Radio(value=None, visible=False)] * empty,
        *[gr.Button(visible=True)] * len(cells),
        *[gr.Button(visible=False)] * empty,
    ]


def _title(look: str) -> str:
    return look if look == _IMAGE else ", ".join(part for part in map_title(look) if part)


def _link(marks: Marks) -> str:
    """A link that holds the manifest itself; nothing before something is marked."""
    if not marks:
        return ""
    content = base64.b64encode(marks.manifest().encode()).decode()
    return f'<a id="download" download="{MANIFEST}" href="data:text/csv;base64,{content}">Download {MANIFEST}</a>'
