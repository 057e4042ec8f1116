"""Folders are listed by names alone: right, and without a look at any image."""

import os

import pytest

from mdpr_fastreid.data.custom.dataset import custom_class
from mdpr_fastreid.data.listing import contents_of, images_below, missing_files
from mdpr_fastreid.embedding.facts import find_images
from tests.support.image_trees import market_tree, write_images


def tree(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_what_lies_in_a_folder_is_told_apart_by_name_and_sorted(tmp_path, monkeypatch):
    tree(tmp_path, "2.JPG", "10.png", ".hidden.jpg", "notes.txt", "b/1.jpg", ".trash/1.jpg", "c.jpg/1.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    here = contents_of(tmp_path)
    assert here.images == [f"{tmp_path}/{name}" for name in ("10.png", "2.JPG", "c.jpg")]
    assert here.folders == [f"{tmp_path}/a", f"{tmp_path}/b"] and here.links == {f"{tmp_path}/a"}
    assert here.others == [f"{tmp_path}/notes.txt"]
    asked = contents_of(tmp_path, by_name=False)
    assert asked.images == here.images[:2] and asked.folders[-1] == f"{tmp_path}/c.jpg"
    monkeypatch.chdir(tmp_path)
    assert contents_of(".").images == ["10.png", "2.JPG", "c.jpg"]
    assert contents_of("./b/").images == ["b/1.jpg"]


def test_images_below_are_those_of_all_folders_but_hidden_ones_and_links(tmp_path):
    tree(tmp_path, "1.jpg", "a/2.jpg", "a/b/c/3.png", "a/.d/4.jpg", "e/5.txt")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    assert sorted(images_below(tmp_path)) == [f"{tmp_path}/1.jpg", f"{tmp_path}/a/2.jpg", f"{tmp_path}/a/b/c/3.png"]
    with pytest.raises(OSError, match="nowhere"):
        list(images_below(tmp_path / "nowhere"))


def test_missing_files_are_those_that_no_folder_lists(tmp_path, monkeypatch):
    tree(tmp_path, "1.jpg", "a/2.jpg")
    monkeypatch.chdir(tmp_path)
    paths = ["1.jpg", "2.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg", "a\0/1.jpg", f"{'n' * 5000}.jpg"]
    assert missing_files(iter(paths)) == ["2.jpg", *paths[3:]]


def rows(folder):
    return "".join(f"{path.relative_to(folder)},{path.parent.name},\n" for path in sorted(folder.rglob("*.png")))


def market(folder):
    market_tree(folder)


def folders(folder):
    write_images(folder, [f"{name}/{number}.png" for name in "abcd" for number in range(3)])


def manifest(folder):
    folders(folder)
    (folder / "manifest.csv").write_text(f"path,identity,camera\n{rows(folder)}")


@pytest.mark.parametrize("layout", [market, folders, manifest])
def test_no_layout_looks_at_its_images_one_by_one(tmp_path, monkeypatch, layout):
    layout(tmp_path)
    looked_at = []

    def watched(name):
        stock = getattr(os, name)

        def look(path, *args, **options):
            looked_at.append(str(path))
            return stock(path, *args, **options)

        monkeypatch.setattr(os, name, look)

    watched("stat")
    watched("lstat")
    data = custom_class("shop", tmp_path)(root=".")
    assert len(data.train + data.query + data.gallery) >= 12 and not data.left_out
    assert len(find_images(tmp_path)) >= 12
    assert str(tmp_path) in " ".join(looked_at), "or nothing was watched"
    assert [path for path in looked_at if path.endswith(".png")] == []


def test_each_folder_is_listed_once(tmp_path, monkeypatch):
    folders(tmp_path)
    listed, stock = [], os.scandir

    def scandir(folder):
        listed.append(str(folder))
        return stock(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    custom_class("shop", tmp_path)(root=".")
    assert sorted(listed) == [str(tmp_path), *(f"{tmp_path}/{name}" for name in "abcd")]


def test_a_manifest_may_name_files_by_what_the_disk_takes_for_their_names(tmp_path, monkeypatch):
    manifest(tmp_path)
    text = (tmp_path / "manifest.csv").read_text()
    (tmp_path / "manifest.csv").write_text(text.replace("a/0.png", "A/0.PNG"))
    stock = os.path.isfile
    monkeypatch.setattr(os.path, "isfile", lambda path: stock(str(path).replace("A/0.PNG", "a/0.png")))
    data = custom_class("shop", tmp_path)(root=".")
    assert sum(path.endswith("A/0.PNG") for path, *_ in data.train + data.query + data.gallery) == 1
