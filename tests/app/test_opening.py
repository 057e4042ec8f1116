"""The page's searcher over a real store, with the model that the store's vectors are of."""

from argparse import Namespace

import numpy as np
import pytest
from PIL import Image
from support.image_trees import write_images
from support.saved_runs import saved_run

from mdpr_fastreid import ReID
from mdpr_fastreid.app.opening import open_finder
from mdpr_fastreid.embedding import Embeddings
from mdpr_fastreid.errors import UsageError
from mdpr_fastreid.search import create_store


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A run's folder, and a store of twelve pictures under three cameras that it has embedded."""
    folder = tmp_path_factory.mktemp("gallery")
    saved_run(folder / "run")
    paths = write_images(folder / "images", [f"{number:02d}.png" for number in range(12)], size=(24, 48))
    model = ReID.load(folder / "run")
    embeddings = Embeddings(
        model.embed(paths),
        np.array([path.name for path in paths]),
        np.array([f"c{number % 3}" for number in range(12)]),
        np.full(12, np.nan),
        np.full(12, ""),
        model.about,
        str(folder / "images"),
    )
    create_store(folder / "gallery.faiss", embeddings).close()
    return folder, paths


def options(folder, **changed):
    given = {"gallery": str(folder / "gallery.faiss"), "model": None, "weights": None, "device": "cpu", "imports": []}
    return Namespace(**{**given, **changed})


def test_the_stores_own_model_embeds_uploads_and_shows_where_it_looks(gallery, capsys):
    folder, paths = gallery
    with open_finder(options(folder)) as finder:
        query = finder.uploaded(Image.open(paths[5]))
        hits = finder.find(query, 4)
        assert hits[0].path == str(paths[5]) and hits[0].score == pytest.approx(1, abs=1e-5)
        assert {hit.camera for hit in finder.find(query, 12, cameras=["c1"])} == {"c1"}
        picked = finder.named(hits[0])
        others = finder.find(picked, 12, other_cameras=True)
        assert {hit.camera for hit in others} == {"c0", "c1", "c2"} - {hits[0].camera}
        reranked = finder.find(query, 12, rerank=True)
        assert {hit.name for hit in reranked} == {path.name for path in paths}
        distances = [hit.reranked for hit in reranked]
        assert distances == sorted(distances)
        assert finder.looks()[0] == "attention4_1" and finder.looks()[-1] == "stripes"
        assert len({hit.name for hit in finder.some(6, 0)}) == 6
    assert "ReID(MDPR" in capsys.readouterr().out


def test_another_model_is_refused_in_one_line(gallery, tmp_path):
    saved_run(tmp_path / "other", seed=1)
    with (
        pytest.raises(UsageError, match=r"uploads are embeddings of another model than .*gallery.faiss"),
        open_finder(options(gallery[0], model=str(tmp_path / "other"))),
    ):
        pass


def test_a_gallery_whose_model_is_gone_is_searched_by_its_own_images(gallery, tmp_path, capsys):
    folder, _ = gallery
    (folder / "run").rename(tmp_path / "elsewhere")
    try:
        with open_finder(options(folder)) as finder:
            assert not finder.can_embed and finder.looks() == []
            assert len(finder.find(finder.named(finder.some(1, 0)[0]), 20)) == 11
    finally:
        (tmp_path / "elsewhere").rename(folder / "run")
    assert "the model of" in capsys.readouterr().out


def test_what_is_no_store_is_one_line(gallery):
    with pytest.raises(UsageError), open_finder(options(gallery[0], gallery=str(gallery[0] / "images"))):
        pass
