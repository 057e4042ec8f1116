"""A SynthReID set that was changed is not trained on, and no command calls it verified."""

import json
import os
import shutil
from pathlib import Path

import pytest
from fastreid.data.datasets import DATASET_REGISTRY

from mdpr_fastreid.cli import main
from mdpr_fastreid.data.synth import PRESETS, RenderError, ensure, mask_path, verify, writer
from mdpr_fastreid.errors import UsageError

SIZE = (32, 16)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return ensure(tmp_path_factory.mktemp("whole"), PRESETS["tiny"], size=SIZE)


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / whole.name))


def _open(folder):
    return DATASET_REGISTRY.get("SynthReIDTiny")(root=str(folder.parent))


def _remove(first, second):
    first.unlink()


def _cut(first, second):
    first.write_bytes(first.read_bytes()[:-1])


def _add(first, second):
    shutil.copy(first, first.with_name("0001_c1s1_999999_00.jpg"))


def _swap(first, second):
    one, two = first.read_bytes(), second.read_bytes()
    assert len(one) != len(two)
    first.write_bytes(two)
    second.write_bytes(one)


def _remove_mask(first, second):
    Path(mask_path(first)).unlink()


def _link_to_nowhere(first, second):
    first.unlink()
    first.symlink_to("nowhere")


_CHANGES = [_remove, _cut, _add, _swap, _remove_mask, _link_to_nowhere]


@pytest.mark.parametrize("change", _CHANGES)
@pytest.mark.parametrize("part", ["bounding_box_train", "query", "bounding_box_test"])
def test_a_changed_set_is_not_opened(folder, change, part):
    _open(folder)
    change(*sorted((folder / part).iterdir())[:2])
    with pytest.raises(UsageError, match=r"SynthReIDTiny: .*(is missing|was not rendered|are not what was rendered)"):
        _open(folder)


@pytest.mark.parametrize("change", _CHANGES)
@pytest.mark.parametrize(
    "words", [["data", "SynthReIDTiny"], ["prepare", "SynthReIDTiny"], ["synth", "--preset", "tiny", "--size", "32x16"]]
)
def test_no_command_calls_a_changed_set_whole(folder, change, words, capsys):
    change(*sorted((folder / "query").iterdir())[:2])
    assert main([*words, "--root", str(folder.parent)]) in (1, 2)
    printed = capsys.readouterr()
    assert (
        "verified" not in printed.out
        and "nothing wrong" not in printed.out
        and "complete\n" not in (printed.out.replace("incomplete", ""))
    )


def test_bytes_that_changed_without_the_size_are_found_by_hash(folder, capsys):
    victim = next((folder / "query").iterdir())
    content = bytearray(victim.read_bytes())
    content[-20] ^= 1
    victim.write_bytes(content)
    _open(folder)
    assert main(["data", "SynthReIDTiny", "--root", str(folder.parent)]) == 1
    assert "error: changed since it was rendered: 1" in capsys.readouterr().out
    assert main(["prepare", "SynthReIDTiny", "--root", str(folder.parent)]) == 1
    assert "query are not what was rendered" in capsys.readouterr().out
    assert main(["synth", "--preset", "tiny", "--size", "32x16", "--root", str(folder.parent)]) == 2
    assert "query are not what was rendered" in capsys.readouterr().err


def test_files_of_other_kinds_are_let_lie(folder):
    (folder / "query" / "Thumbs.db").touch()
    (folder / "notes.txt").touch()
    _open(folder)
    verify(folder)
    assert (folder / "query" / "Thumbs.db").exists() and (folder / "notes.txt").exists()


def test_a_set_from_before_sizes_were_written_down_is_compared_by_names(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for entry in manifest["splits"].values():
        del entry["sizes"], entry["mask_sizes"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _open(folder)
    verify(folder)
    next((folder / "query").iterdir()).unlink()
    with pytest.raises(UsageError, match="is missing"):
        _open(folder)


def _with(manifest, path, value):
    *above, last = path
    node = manifest
    for key in above:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return json.dumps(manifest)


_LONG = "9" * 5000
_MANIFESTS = {
    "no JSON": lambda manifest: "{",
    "empty": lambda manifest: "",
    "a list": lambda manifest: "[]",
    "nested": lambda manifest: "[" * 100_000,
    "no text": lambda manifest: "\udcff",
    "thousands of digits": lambda manifest: json.dumps(manifest).replace('"seed": 0', f'"seed": {_LONG}'),
    "images of thousands of digits": lambda manifest: json.dumps(manifest).replace(
        '"images": 32', f'"images": {_LONG}'
    ),
    "no spec": lambda manifest: _with(manifest, ["spec"], None),
    "no splits": lambda manifest: _with(manifest, ["splits"], None),
    "splits are a list": lambda manifest: _with(manifest, ["splits"], []),
    "no preset": lambda manifest: _with(manifest, ["spec", "preset"], None),
    "a knob less": lambda manifest: _with(manifest, ["spec", "preset", "crowd"], None),
    "an unknown knob": lambda manifest: _with(manifest, ["spec", "preset", "fog"], 1),
    "a knob that is text": lambda manifest: _with(manifest, ["spec", "preset", "crowd"], "much"),
    "a preset without end": lambda manifest: _with(manifest, ["spec", "preset", "train_identities"], 10**15),
    "negative counts": lambda manifest: _with(manifest, ["spec", "preset", "train_images"], -1),
    "no camera": lambda manifest: _with(manifest, ["spec", "preset", "cameras"], 0),
    "a seed that is text": lambda manifest: _with(manifest, ["spec", "seed"], "0"),
    "one size": lambda manifest: _with(manifest, ["spec", "size"], [32]),
    "sizes that are text": lambda manifest: _with(manifest, ["spec", "size"], ["32", "16"]),
    "a folder elsewhere": lambda manifest: _with(manifest, ["splits", "../../etc"], {"images": 1, "files": ""}),
    "another count": lambda manifest: _with(manifest, ["splits", "query", "images"], 31),
    "no hash": lambda manifest: _with(manifest, ["splits", "query", "files"], None),
}


@pytest.mark.parametrize("name", _MANIFESTS)
def test_a_damaged_manifest_is_one_line(folder, name, capsys):
    text = _MANIFESTS[name](json.loads((folder / "manifest.json").read_text()))
    (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    root = str(folder.parent)
    synth = ["synth", "--preset", "tiny", "--size", "32x16", "--root", root]
    for words in (["data", "SynthReIDTiny", "--root", root], synth, ["synth", "--judge", str(folder)]):
        assert main(words) == 2
        printed = capsys.readouterr().err
        assert "manifest.json is damaged; delete" in printed and printed.count("\n") == 1
    assert main(["prepare", "SynthReIDTiny", "--root", root]) == 1
    assert "state    damaged" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pipe", "folder", "missing", "device"])
def test_a_manifest_that_is_no_file_is_one_line(folder, kind, capsys):
    manifest = folder / "manifest.json"
    manifest.unlink()
    if kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "folder":
        manifest.mkdir()
    elif kind == "device":
        manifest.symlink_to("/dev/zero")
    assert main(["data", "SynthReIDTiny", "--root", str(folder.parent)]) == 2
    printed = capsys.readouterr().err
    assert "has no manifest.json" in printed and printed.count("\n") == 1


class _Interrupt(Exception):
    pass


@pytest.fixture
def partial(tmp_path):
    """What an interrupted rendering has left."""

    def progress(done, total):
        if done >= 200:
            raise _Interrupt

    with pytest.raises(_Interrupt):
        ensure(tmp_path, PRESETS["tiny"], size=SIZE, progress=progress)
    return tmp_path / "synthreid-tiny.partial"


def test_what_was_changed_while_a_rendering_was_interrupted_is_rendered_again(partial, whole):
    first, second, third, *_ = sorted((partial / "bounding_box_train").iterdir())
    first.write_bytes(second.read_bytes())
    third.unlink()
    folder = ensure(partial.parent, PRESETS["tiny"], size=SIZE)
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    verify(folder)


def test_what_was_added_while_a_rendering_was_interrupted_is_named(partial):
    shutil.copy(next((partial / "bounding_box_train").iterdir()), partial / "query_0001.jpg")
    (partial / "query").mkdir(exist_ok=True)
    shutil.copy(partial / "query_0001.jpg", partial / "query/0001_c1s1_999999_00.jpg")
    with pytest.raises(RenderError, match=r"query/0001_c1s1_999999_00\.jpg was not rendered; move it away"):
        ensure(partial.parent, PRESETS["tiny"], size=SIZE)
    (partial / "query/0001_c1s1_999999_00.jpg").unlink()
    verify(ensure(partial.parent, PRESETS["tiny"], size=SIZE))


@pytest.mark.parametrize("line", ["[]", "{}", '{"files": 1}', "9" * 5000, "null"])
def test_a_journal_with_foreign_lines_is_taken_up_before_them(partial, whole, line):
    lines = (partial / writer.JOURNAL).read_text().splitlines()
    (partial / writer.JOURNAL).write_text("\n".join([*lines[:3], line, *lines[3:]]) + "\n")
    folder = ensure(partial.parent, PRESETS["tiny"], size=SIZE)
    assert (folder / "manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()


def test_a_folder_of_the_users_is_not_cleared_for_its_name(tmp_path):
    (tmp_path / "synthreid-tiny.partial").mkdir()
    (tmp_path / "synthreid-tiny.partial" / "mine.txt").write_text("mine")
    with pytest.raises(RenderError, match="is not what an interrupted rendering leaves; move it away"):
        ensure(tmp_path, PRESETS["tiny"], size=SIZE)
    assert (tmp_path / "synthreid-tiny.partial" / "mine.txt").read_text() == "mine"


def test_a_set_from_before_a_knob_was_there_is_used_as_what_it_is(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["spec"]["preset"].pop("look_alike_share") == 1.0
    (folder / "manifest.json").write_text(json.dumps(manifest))
    verify(ensure(folder.parent, PRESETS["tiny"], size=SIZE))
    del manifest["spec"]["preset"]["occlusion"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RenderError, match="is damaged"):
        verify(folder)
