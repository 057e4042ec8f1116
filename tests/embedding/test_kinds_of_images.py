"""Image files of every kind that people have, embedded as the RGB picture that a viewer shows."""

import numpy as np
import pytest
from PIL import Image
from support.saved_runs import saved_run

from mdpr_fastreid import ReID, cli
from mdpr_fastreid.data.reading import DamagedImageError
from mdpr_fastreid.embedding import Embeddings

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8))
GREY = PICTURE.convert("L")


def sixteen_bits():
    return Image.fromarray((np.asarray(GREY).astype(np.uint16) << 8) | 77)


KINDS = {
    # suffix, picture to save, the RGB picture that it is
    "rgba": (".png", lambda: Image.merge("RGBA", (*PICTURE.split(), GREY)), PICTURE),
    "grey": (".png", lambda: GREY, GREY.convert("RGB")),
    "palette": (".png", lambda: GREY.convert("P"), GREY.convert("RGB")),
    "sixteen bits": (".png", sixteen_bits, GREY.convert("RGB")),
    "bitmap": (".bmp", lambda: PICTURE, PICTURE),
    "tiff": (".tif", lambda: PICTURE, PICTURE),
    "cmyk": (".tif", lambda: PICTURE.convert("CMYK"), PICTURE.convert("CMYK").convert("RGB")),
    "one pixel": (".png", lambda: PICTURE.resize((1, 1)), PICTURE.resize((1, 1))),
    "one row": (".png", lambda: PICTURE.resize((300, 1)), PICTURE.resize((300, 1))),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved_run(folder)
    return ReID.load(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_picture_that_it_shows(model, tmp_path, kind):
    suffix, make, shown = KINDS[kind]
    make().save(tmp_path / f"a{suffix}")
    assert np.array_equal(model.embed(tmp_path / f"a{suffix}"), model.embed(shown))


@pytest.mark.parametrize(("orientation", "turn"), [(3, Image.ROTATE_180), (6, Image.ROTATE_270), (8, Image.ROTATE_90)])
def test_a_photograph_is_turned_as_its_exif_says(model, tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    PICTURE.save(tmp_path / "a.png", exif=exif)
    upright = model.embed(PICTURE.transpose(turn))
    assert np.array_equal(model.embed(tmp_path / "a.png"), upright)
    assert np.array_equal(model.embed(Image.open(tmp_path / "a.png")), upright)
    assert not np.allclose(model.embed(PICTURE), upright)


def test_of_an_animation_the_first_frame_counts(model, tmp_path):
    frames = [GREY.convert("P"), Image.new("P", GREY.size)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.array_equal(model.embed(tmp_path / "a.gif"), model.embed(Image.open(tmp_path / "a.gif").convert("RGB")))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"%!PS-Adobe-3.0 EPSF-3.0\n"], ids=["empty", "cut", "postscript"])
def test_what_is_no_picture_is_named(model, tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DamagedImageError, match=r"a\.png: cannot be read as an image"):
        model.embed(tmp_path / "a.png")


def test_names_in_any_script_with_newlines_and_quotes_are_kept(model, tmp_path, capsys):
    names = ["人/照片.png", "новый\nстрока.png", 'it\'s "quoted".png', "a b;$(rm -rf x).png", "\x1b[2J.png"]
    for name in names:
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        PICTURE.save(tmp_path / "images" / name)
    (tmp_path / "images" / "broken\n\x1b[31m.png").write_bytes(b"")
    words = ["embed", str(tmp_path / "images"), "-o", str(tmp_path / "g.npz"), "--model", model.about.source]
    assert cli.main(words) == 1
    assert Embeddings.read(tmp_path / "g.npz").names.tolist() == sorted(names)
    said = capsys.readouterr()
    assert "broken\\n\\x1b[31m.png: cannot be read as an image" in said.err and "\x1b" not in said.err + said.out


def test_a_folder_with_other_files_gives_its_images(model, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    for name in ("Thumbs.db", "notes.txt", ".hidden.png", "b.pdf"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / "c.png").mkdir()
    assert len(model.embed(tmp_path)) == 1
