"""Generated configs, manifests, images and weight files: each is taken, or is one line. ``make fuzz`` goes on for long.

``MDPR_FUZZ_SECONDS`` is how long all of them together run with new examples; without it each runs a few fixed ones.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from fastreid.config import get_cfg
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from robustness.entry_points import assert_line

from mdpr_fastreid.config import read_config
from mdpr_fastreid.config.reference import KEYS
from mdpr_fastreid.data.custom.layouts import COLUMNS, read_records
from mdpr_fastreid.data.reading import read_image, read_labels
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.weights import read_checkpoint

SECONDS = float(os.environ.get("MDPR_FUZZ_SECONDS", "0"))
EXAMPLES = 40

_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner), max_leaves=6
)
_names = st.sampled_from([key.name for key in KEYS])
_bytes = st.binary(max_size=300)

configs = st.dictionaries(_names | st.text(max_size=10), _values, max_size=4)
"""Whole names, or nonsense, with values of any kind."""

cells = st.sampled_from(["", "a.jpg", "b.png", "1", "-1", "0", "train", "query", "test", "9" * 5000]) | st.text(
    max_size=8
)
manifests = st.lists(st.lists(cells, min_size=1, max_size=8).map(",".join), max_size=6).map("\n".join)


@st.composite
def images(draw: Callable) -> bytes:
    """An image of some format and mode, some bytes of which are others or missing; or bytes of no image."""
    if draw(st.booleans()):
        return draw(_bytes)
    mode = draw(st.sampled_from(["1", "L", "RGB"]))
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    file = io.BytesIO()
    Image.new(mode, size).save(file, draw(st.sampled_from(["PNG", "BMP", "TIFF", "GIF", "PPM"])))
    return damaged(draw, file.getvalue())


@st.composite
def weight_files(draw: Callable) -> bytes:
    """What torch.save writes of some content, whole or damaged; or bytes of no weight file."""
    if draw(st.booleans()):
        return draw(_bytes)
    tensors = st.sampled_from([torch.ones(2), torch.ones(1, dtype=torch.int8), torch.ones(3, dtype=torch.complex64)])
    content = st.dictionaries(st.text(max_size=5) | st.integers(), tensors | _scalars, max_size=3)
    file = io.BytesIO()
    torch.save(draw(content | st.fixed_dictionaries({"model": content, "epoch": _scalars})), file)
    return damaged(draw, file.getvalue())


def damaged(draw: Callable, content: bytes) -> bytes:
    """The bytes, cut or with some others in them, or as they are."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 3))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)))] if draw(st.booleans()) else content)


def taken_or_one_line(read: Callable[[], object]) -> None:
    """It returns, or raises a ``UsageError`` of one line."""
    try:
        read()
    except UsageError as error:
        assert_line(str(error))


def _config(content: dict) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.yml")
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        taken_or_one_line(lambda: read_config(path))


def _overrides(content: dict) -> None:
    words = [str(word) for pair in content.items() for word in pair]
    taken_or_one_line(lambda: read_config("", words))
    assert get_cfg().SOLVER.BASE_LR > 0


def _manifest(content: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.jpg", "b.png"):
            Path(folder, name).touch()
        Path(folder, "manifest.csv").write_text(f"{','.join(COLUMNS)}\n{content}", encoding="utf-8")
        taken_or_one_line(lambda: read_records(Path(folder)))


def _image(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "i.jpg")
        path.write_bytes(content)
        taken_or_one_line(lambda: read_image(str(path)))
        taken_or_one_line(lambda: read_labels(str(path)))


def _weights(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "w.pth")
        path.write_bytes(content)
        taken_or_one_line(lambda: read_checkpoint(path))


GENERATED = {
    "config files": (configs, _config),
    "overrides": (configs, _overrides),
    "manifests": (manifests, _manifest),
    "images": (images(), _image),
    "weight files": (weight_files(), _weights),
}


@pytest.mark.parametrize("kind", GENERATED)
@pytest.mark.filterwarnings("ignore")
def test_what_is_generated_is_taken_or_is_one_line(kind):
    strategy, check = GENERATED[kind]
    end, first = time.monotonic() + SECONDS / len(GENERATED), time.time_ns() if SECONDS else 13
    for number in range(first, first + (10**9 if SECONDS else 1)):
        limited = settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        seed(number)(limited(given(strategy)(check)))()
        if time.monotonic() >= end:
            break
