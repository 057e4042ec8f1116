"""The page in a real browser: load, query, filter, look, mark, download."""

import csv
import re

import pytest
from PIL import Image
from support.small_gallery import HOSTILE

from mdpr_fastreid.data.custom.dataset import custom_class
from mdpr_fastreid.data.custom.layouts import read_records


def said(page, text):
    page.wait_for_function(f"document.querySelector('#said').innerText.includes({text!r})")


def names(page):
    """The names below the images, in their order."""
    return [
        re.search(r"p\d/.*png", text)[0] for text in page.locator("[id^=hit-] figcaption:visible").all_inner_texts()
    ]


def scores(page):
    return [float(text.split()[1]) for text in page.locator("[id^=hit-] figcaption b:visible").all_inner_texts()]


def upload(page, path):
    page.set_input_files("#upload input[type=file]", str(path))


def search_by_upload(page, people):
    upload(page, people[1][0])
    said(page, "hits, the most similar first")


def test_the_page_shows_images_to_begin_with_and_nothing_of_another_site(browser, served):
    asked = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(served[0])
    page.wait_for_selector("#hit-1 img")
    assert [url for url in asked if not url.startswith((served[0], "data:", "blob:"))] == []
    assert [url for url in asked if "file=" in url] == []
    assert "Search <b>people</b>" in page.inner_text("h2")
    assert len(names(page)) == len(set(names(page))) > 6
    assert all(HOSTILE in name and "<i>" in name for name in names(page))
    assert page.evaluate("window.hacked") is None
    page.close()


def test_an_uploaded_image_finds_its_person_first(page, people):
    search_by_upload(page, people)
    assert len(names(page)) == 12
    assert {name.partition("/")[0] for name in names(page)[:4]} == {"p0"}
    assert scores(page) == sorted(scores(page), reverse=True) and scores(page)[0] > 0.999


def test_an_image_of_the_gallery_is_a_query_and_no_hit_of_its_own(page):
    first = names(page)[0]
    page.click("#again-1")
    said(page, "12 hits")
    assert first in page.inner_text("#query") and first not in names(page)
    assert {name.partition("/")[0] for name in names(page)[:3]} == {first.partition("/")[0]}


def test_cameras_filter_and_few_hits_are_few(page, people, served):
    search_by_upload(page, people)
    page.click("#cameras input")
    page.get_by_role("option", name="unknown").click()
    said(page, "8 hits")
    assert {served[1].camera[name] for name in names(page)} == {""}


def test_the_querys_own_camera_can_be_left_out(page, served):
    camera = next(name for name in names(page) if served[1].camera[name])
    page.click(f"#again-{names(page).index(camera) + 1}")
    said(page, "12 hits")
    assert served[1].camera[camera] in {served[1].camera[name] for name in names(page)}
    page.check("#differs input")
    said(page, "of other cameras")
    assert served[1].camera[camera] not in {served[1].camera[name] for name in names(page)}


def test_hits_are_re_ranked_on_request(page, people):
    search_by_upload(page, people)
    plain = scores(page)
    page.check("#rerank input")
    said(page, "re-ranked")
    assert scores(page) == sorted(scores(page)) and scores(page)[0] < min(plain)


def test_attention_is_laid_over_the_query_and_the_hits(page, people):
    search_by_upload(page, people)
    before = page.locator("#hit-1 img").get_attribute("src"), page.locator("#query img").get_attribute("src")
    page.get_by_label("stage 4, map 1").check()
    page.wait_for_function(f"document.querySelector('#hit-1 img').src !== {before[0]!r}")
    assert page.locator("#query img").get_attribute("src") != before[1]
    assert all(
        source.startswith("data:image/jpeg") for source in (*before, page.locator("#hit-1 img").get_attribute("src"))
    )


def test_marks_become_a_manifest_that_a_training_reads(page, served, tmp_path):
    query = names(page)[0]
    page.click("#again-1")
    said(page, "12 hits")
    page.get_by_label("name of the person, for marks").fill('Ann "=A1", 张')
    page.get_by_label("name of the person, for marks").press("Tab")
    said(page, "Marks are of Ann")
    found = names(page)
    for place, kind in ((1, "✓ same"), (2, "✓ same"), (12, "✗ other")):
        page.locator(f"#mark-{place}").get_by_label(kind).click()
        said(page, f"{(1, 2, 12).index(place) + 2} images are marked")
    with page.expect_download() as downloading:
        page.click("#download")
    assert downloading.value.suggested_filename == "manifest.csv"
    downloading.value.save_as(tmp_path / "manifest.csv")

    paths = served[1].paths
    records = read_records(tmp_path)
    assert {record.path for record in records} == {paths[name] for name in (query, found[0], found[1])}
    assert {record.identity for record in records} == {'Ann "=A1", 张'}
    assert {record.path: record.camera for record in records} == {
        paths[name]: served[1].camera[name] for name in (query, found[0], found[1])
    }
    data = custom_class("Marked", tmp_path)(root=str(tmp_path))
    assert len(data.train) == 3 and not data.query and not data.gallery
    with (tmp_path / "manifest.csv").open(newline="") as file:
        marks = {row["path"]: row["judged"] for row in csv.DictReader(file)}
    assert marks[paths[found[11]]] == "wrong" and marks[paths[query]] == "query"


def test_a_mark_is_there_when_its_image_comes_again(page):
    page.click("#again-1")
    said(page, "12 hits")
    marked = names(page)[0]
    page.locator("#mark-1").get_by_label("✓ same").click()
    said(page, "2 images are marked")
    page.check("#differs input")
    said(page, "the most similar first")
    page.uncheck("#differs input")
    page.wait_for_function(f"document.querySelector('#hit-1').innerText.includes({marked!r})")
    assert page.locator("#mark-1").get_by_label("✓ same").is_checked()
    assert not page.locator("#mark-2").get_by_label("✓ same").is_checked()


@pytest.mark.parametrize(("name", "content"), [("a.png", b"no image"), ("empty.jpg", b"")])
def test_what_is_no_image_is_a_line_and_the_page_goes_on(page, people, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    upload(page, tmp_path / name)
    said(page, "the file cannot be read as an image")
    page.click("#again-1")
    said(page, "12 hits")


def test_an_upload_that_is_too_large_is_refused(page, tmp_path):
    Image.effect_noise((3000, 3000), 90).convert("RGB").save(tmp_path / "large.bmp")
    assert (tmp_path / "large.bmp").stat().st_size > 20 * 2**20
    upload(page, tmp_path / "large.bmp")
    page.wait_for_timeout(1500)
    assert "hits" not in page.inner_text("#said")
    page.click("#again-1")
    said(page, "12 hits")
