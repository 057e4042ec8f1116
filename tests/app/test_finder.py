"""What the page asks of a store, and of a model."""

import numpy as np
import pytest
from PIL import Image
from support.small_gallery import SmallGallery, embed, look

from mdpr_fastreid.app.finder import Finder
from mdpr_fastreid.errors import UsageError


@pytest.fixture(scope="module")
def gallery(people):
    return SmallGallery(*people)


def names(hits):
    return [hit.name for hit in hits]


def first_hit(gallery):
    return gallery.search(np.ones((1, 24), dtype=np.float32), 1)[0][0]


def test_a_query_of_the_gallery_is_not_its_own_hit_and_there_are_as_many_as_asked_for(gallery):
    hit = first_hit(gallery)
    hits = Finder(gallery).find(Finder(gallery).named(hit), 5)
    assert len(hits) == 5 and hit.name not in {one.name for one in hits}
    assert [one.score for one in hits] == sorted((one.score for one in hits), reverse=True)


def test_an_uploaded_image_is_found_where_it_is_in_the_gallery(gallery, people):
    finder = Finder(gallery, embed)
    hits = finder.find(finder.uploaded(Image.open(people[1][5])), 3)
    assert hits[0].path == str(people[1][5]) and hits[0].score == pytest.approx(1)


def test_filters_are_the_stores(gallery):
    hit = next(one for one in gallery.search(np.ones((1, 24)), 24)[0] if one.camera == "1")
    finder = Finder(gallery)
    query = finder.named(hit)
    assert {one.camera for one in finder.find(query, 24, cameras=["2", ""])} == {"2", ""}
    assert {one.camera for one in finder.find(query, 24, other_cameras=True)} == {"2", ""}


def test_all_hits_are_re_ranked_and_then_cut(gallery, people):
    finder = Finder(gallery, embed, rerank=lambda store, vector, hits: list(reversed(hits)), depth=10)
    query = finder.uploaded(Image.open(people[1][0]))
    plain = names(finder.find(query, 10))
    assert names(finder.find(query, 4, rerank=True)) == plain[::-1][:4]
    assert names(Finder(gallery, embed).find(query, 4, rerank=True)) == plain[:4]


def test_images_to_begin_with_are_different_and_change_with_the_seed(gallery):
    finder = Finder(gallery)
    first, same, other = (names(finder.some(6, seed)) for seed in (0, 0, 1))
    assert len(set(first)) == 6
    assert first == same != other


def test_without_a_model_uploads_and_attention_are_refused_in_words(gallery):
    finder = Finder(gallery)
    picture = Image.new("RGB", (8, 16))
    with pytest.raises(UsageError, match="only images of the gallery .* --model"):
        finder.uploaded(picture)
    with pytest.raises(UsageError, match="there is no attention: start with --model"):
        finder.maps([picture])
    assert finder.looks() == [] and not finder.can_embed
    assert Finder(gallery, look=look).looks() == ["attention4_1", "stripes"]
