"""A set on disk: the same whoever renders it, whole or not there, and taken up where it was left."""

import errno
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mdpr_fastreid.data.synth import writer
from mdpr_fastreid.data.synth.manifest import RenderError, mask_path, read_manifest, verify
from mdpr_fastreid.data.synth.plan import GALLERY_FOLDER, QUERY_FOLDER, TRAIN_FOLDER, plan
from mdpr_fastreid.data.synth.presets import PRESETS
from mdpr_fastreid.data.synth.writer import ensure, set_folder

SIZE = (64, 32)
NAME = re.compile(r"(-1|\d{4})_c[1-6]s1_\d{6}_\d\d\.(jpg|png)")


def _splits(folder):
    return read_manifest(folder)["splits"]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_plans_have_the_announced_counts_and_unique_names(name):
    preset = PRESETS[name]
    jobs = plan(preset, 0)
    counts, kinds = Counter(), Counter()
    for job in jobs:
        counts[job.folder] += len(job.names)
        kinds[job.kind] += len(job.names)
    assert counts[TRAIN_FOLDER] == preset.train_images
    assert counts[QUERY_FOLDER] == preset.query_images
    assert counts[GALLERY_FOLDER] == preset.gallery_images + preset.junk_images
    assert (kinds["distractor"], kinds["junk"]) == (preset.distractor_images, preset.junk_images)
    assert kinds["tracklet"] == preset.frames * (preset.train_tracklets + preset.test_tracklets)
    names = [(job.folder, name) for job in jobs for name in job.names]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "name", ["tiny", "demo", "small", "base", "occluded", "occluded_tiny", "occluded_demo", "occluded_small", "video"]
)
def test_every_query_has_a_match_by_another_camera(name):
    jobs = plan(PRESETS[name], 0)
    gallery = {job.index: set(job.cameras) for job in jobs if job.kind == GALLERY_FOLDER}
    queries = [(job.index, camera) for job in jobs if job.kind == QUERY_FOLDER for camera in job.cameras]
    assert len(set(queries)) == len(queries), "two queries of one identity by one camera"
    assert all(gallery[index] - {camera} for index, camera in queries)


def test_a_set_has_market_names_masks_and_identities(micro_set, micro_request):
    for name in (TRAIN_FOLDER, QUERY_FOLDER, GALLERY_FOLDER):
        images = sorted((micro_set / name).iterdir())
        assert len(images) == _splits(micro_set)[name]["images"]
        assert all(NAME.fullmatch(path.name) for path in images)
        for path in images[:5]:
            with Image.open(path) as image, Image.open(mask_path(path)) as mask:
                assert image.size == mask.size == (32, 64)
                assert (image.format, mask.format, mask.mode) == ("JPEG", "PNG", "P")
                assert np.asarray(mask).max() < 9
    people = json.loads((micro_set / "identities.json").read_text())
    assert [people[f"{k:04d}"]["split"] for k in (1, 6, 7, 12)] == ["train", "train", "test", "test"]
    pids = {path.name[:4] for path in (micro_set / GALLERY_FOLDER).iterdir()}
    assert {"0000", "-1_c"} < pids and pids - {"0000", "-1_c"} <= set(people)


def test_pixels_on_disk_are_the_pinned_ones(micro_set):
    # Whatever the worker, the process or the machine; a change of these raises RENDERER_VERSION.
    assert (
        _splits(micro_set)[QUERY_FOLDER]["rendered"]
        == "515460ac5919e17050d709645c0755066ea7fe24f113cb7bdc8ecd19c2a1bfa3"
    )


def test_any_number_of_workers_writes_the_same_files(micro_set, micro_request, tmp_path):
    several = ensure(tmp_path, micro_request.preset, 0, SIZE, workers=3)
    assert _splits(several) == _splits(micro_set)
    verify(several, micro_request)


def test_a_fresh_process_writes_the_same_files(micro_set, tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[2]); from conftest import MICRO, MICRO_SIZE;"
        "from mdpr_fastreid.data.synth.writer import ensure; ensure(sys.argv[1], MICRO, 0, MICRO_SIZE)"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path), str(Path(__file__).parent)]
    subprocess.run(arguments, check=True, cwd=Path(writer.__file__).parents[3])
    assert _splits(set_folder(tmp_path, "micro")) == _splits(micro_set)


def test_another_seed_gives_other_pixels(micro_set, micro_request, tmp_path):
    other = ensure(tmp_path, micro_request.preset, 1, SIZE)
    assert all(_splits(other)[name]["rendered"] != _splits(micro_set)[name]["rendered"] for name in _splits(other))


class _Interrupt(Exception):
    pass


def _interrupt_after(images):
    def progress(done, total):
        if done >= images:
            raise _Interrupt

    return progress


def test_an_interrupted_set_is_not_there_and_is_taken_up(micro_set, micro_request, tmp_path, monkeypatch):
    with pytest.raises(_Interrupt):
        ensure(tmp_path, micro_request.preset, 0, SIZE, progress=_interrupt_after(40))
    folder = set_folder(tmp_path, "micro")
    assert not folder.exists()
    with open(folder.with_name("synthreid-micro.partial") / writer.JOURNAL, "a") as journal:
        journal.write('{"rendered": "cut o')
    rendered = []
    monkeypatch.setattr(writer, "_render_job", lambda *a, job=writer._render_job: rendered.append(a) or job(*a))
    ensure(tmp_path, micro_request.preset, 0, SIZE)
    assert 0 < len(rendered) < len(plan(micro_request.preset, 0)) - 5
    assert _splits(folder) == _splits(micro_set)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["synthreid-micro"]


def test_what_another_request_left_is_cleared(micro_set, micro_request, tmp_path):
    with pytest.raises(_Interrupt):
        ensure(tmp_path, micro_request.preset, 5, SIZE, progress=_interrupt_after(40))
    ensure(tmp_path, micro_request.preset, 0, SIZE)
    assert _splits(set_folder(tmp_path, "micro")) == _splits(micro_set)


def test_a_whole_set_is_verified_and_left_alone(micro_set, micro_request):
    before = {path: path.stat().st_mtime_ns for path in micro_set.rglob("*")}
    ensure(micro_set.parent, micro_request.preset, 0, SIZE, check=True)
    assert before == {path: path.stat().st_mtime_ns for path in micro_set.rglob("*")}


@pytest.mark.parametrize("damage", ["delete", "truncate", "delete mask"])
def test_verifying_names_what_is_damaged(micro_set, micro_request, tmp_path, damage):
    folder = Path(shutil.copytree(micro_set, set_folder(tmp_path, "micro")))
    victim = next((folder / QUERY_FOLDER).iterdir())
    if damage == "truncate":
        victim.write_bytes(victim.read_bytes()[:200])
    else:
        Path(mask_path(victim) if "mask" in damage else victim).unlink()
    message = rf"{QUERY_FOLDER} are not" if damage == "truncate" else rf"{victim.stem}.* is missing"
    with pytest.raises(RenderError, match=message + ".*render again"):
        ensure(tmp_path, micro_request.preset, 0, SIZE, check=True)


def test_a_set_of_other_settings_is_not_taken_for_this_one(micro_set, micro_request):
    harder = replace(micro_request.preset, occlusion=0.9)
    with pytest.raises(RenderError, match=r"another set \(occlusion 0.15 instead of 0.9, seed 0 instead of 4\)"):
        ensure(micro_set.parent, harder, 4, SIZE)
    assert ensure(micro_set.parent, harder, 4, SIZE, as_found=True) == micro_set


def test_a_folder_without_a_manifest_is_no_set(micro_request, tmp_path):
    set_folder(tmp_path, "micro").mkdir()
    with pytest.raises(RenderError, match=r"has no manifest\.json"):
        ensure(tmp_path, micro_request.preset, 0, SIZE)


def test_a_damaged_manifest_is_named(micro_request, tmp_path):
    set_folder(tmp_path, "micro").mkdir()
    (set_folder(tmp_path, "micro") / "manifest.json").write_text('{"spec": ')
    with pytest.raises(RenderError, match=r"manifest\.json is damaged"):
        ensure(tmp_path, micro_request.preset, 0, SIZE)


def test_a_full_disk_gives_one_message_and_no_set(micro_set, micro_request, tmp_path, monkeypatch):
    write, written = writer._write, []

    def filling(path, content):
        written.append(path)
        if len(written) > 60:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, content)

    monkeypatch.setattr(writer, "_write", filling)
    with pytest.raises(RenderError, match=r"cannot write .*No space left on device; make room"):
        ensure(tmp_path, micro_request.preset, 0, SIZE)
    assert not set_folder(tmp_path, "micro").exists()
    monkeypatch.setattr(writer, "_write", write)
    assert _splits(ensure(tmp_path, micro_request.preset, 0, SIZE)) == _splits(micro_set)


def test_a_root_that_cannot_be_written_gives_one_message(micro_request, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RenderError, match=r"cannot write .*file"):
        ensure(tmp_path / "file" / "root", micro_request.preset, 0, SIZE)


def _ensure_and_count(root, preset, results):
    calls = []
    ensure(root, preset, 0, SIZE, progress=lambda done, total: calls.append(done))
    results.put(len(calls))


def test_when_several_processes_start_one_renders_and_the_others_wait(micro_set, micro_request, tmp_path):
    context = get_context("fork")
    results = context.Queue()
    processes = [
        context.Process(target=_ensure_and_count, args=(tmp_path, micro_request.preset, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    calls = sorted(results.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert calls[:2] == [0, 0] and calls[2] > 1
    assert _splits(set_folder(tmp_path, "micro")) == _splits(micro_set)
