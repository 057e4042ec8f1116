"""The page and the pictures."""

import configparser
import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.comparisons import made_up_result

from mdpr_fastreid.cli import main
from mdpr_fastreid.compare import evaluate, launch, page, plots, records
from mdpr_fastreid.compare.curves import read_curves, training_seconds
from mdpr_fastreid.compare.plots import SMALLEST_SPAN, _wide_enough
from mdpr_fastreid.compare.rank_lists import choose_queries, load_rankings
from mdpr_fastreid.compare.report import write_all
from mdpr_fastreid.compare.summary import summarize
from mdpr_fastreid.compare.table import problems


def made_up_ranking(folder, images, attention=False, captions=False):
    """Four queries (images 0 to 3) and what is nearest to them."""
    rng = np.random.default_rng(len(folder.parts))
    gallery = np.array([rng.permutation(np.arange(4, 4 + evaluate.LISTED)) for _ in range(4)])
    gallery[3, -1] = -1
    records.write_arrays(
        folder / records.RANKING,
        query=np.arange(4),
        average_precision=rng.random(4),
        gallery=gallery,
        distance=np.sort(rng.random(gallery.shape), axis=1),
        correct=rng.random(gallery.shape) < 0.5,
        used=np.arange(len(images)),
        paths=np.array([str(path) for path in images]),
        identities=np.arange(len(images)),
        cameras=np.zeros(len(images), dtype=int),
        **({"caption": np.where(gallery < 0, "", "head & <feet>")} if captions else {}),
        **({"attention": rng.integers(0, 255, (4, 4, 4, 2)).astype(np.uint8)} if attention else {}),
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Paths of fourteen images, the last of which is gone."""
    folder = tmp_path_factory.mktemp("images")
    paths = [folder / f"{k}.jpg" for k in range(4 + evaluate.LISTED)]
    for k, path in enumerate(paths[:-1]):
        Image.new("RGB", (32, 64), (10 * k, 100, 200)).save(path)
    return paths


@pytest.fixture(scope="module")
def reported(small_plan, images, tmp_path_factory):
    """A plan with three runs finished and one failed, and its page."""
    plan = dataclasses.replace(small_plan, output=tmp_path_factory.mktemp("reported"))
    for run in plan.runs[:3]:
        made_up_ranking(made_up_result(plan, run), images, attention=run.method.name == "mdpr")
    failed = plan.folder(plan.runs[3])
    failed.mkdir(parents=True)
    records.write_json(failed / records.FAILURE, {"error": "ValueError: <nothing> & more", "log": "log.txt"})
    return plan, write_all(plan)


def test_everything_is_written_and_a_failure_is_reported(reported):
    plan, outcome = reported
    names = {path.relative_to(plan.output).as_posix() for path in outcome.files}
    drawn = {f"plots/{name}.svg" for name in ("accuracy", "cmc", "speed", "training", "differences")}
    assert names == {"results.json", "results.csv", "table.md", "report.html", *drawn}
    assert all(path.stat().st_size for path in outcome.files)
    assert outcome.failed and "ValueError" in outcome.text


def test_the_page_needs_no_other_file_and_no_network(reported):
    plan, _ = reported
    html = (plan.output / "report.html").read_text()
    assert not re.search(r"https?://|<script|<link|@import|src=\"(?!data:)|url\((?!data:)", html)
    assert html.count("data:image/svg+xml") == 5


def test_the_page_has_all_sections_and_escapes_what_others_wrote(reported):
    plan, _ = reported
    html = (plan.output / "report.html").read_text()
    for section in ("Results", "Pictures", "Rank lists", "Attention", "Conditions", "Provenance"):
        assert f">{section}</h2>" in html
    assert "ValueError: &lt;nothing&gt; &amp; more" in html and "<nothing>" not in html
    assert plan.data.digest in html and plan.command in html and "abc1234" in html
    assert 'class="hit right"' in html and 'class="hit wrong"' in html and "stage 3, map 2" in html


def test_captions_stand_below_the_images_of_the_method_that_has_them(plan_in, images):
    for run in plan_in.runs:
        own = {"mIoU": 0.5, "F1": 60.0} if run.method.name == "mdpr" else None
        made_up_ranking(made_up_result(plan_in, run, own), images, captions=own is not None)
    outcome = write_all(plan_in)
    html = (plan_in.output / "report.html").read_text()
    cases = html.count('<div class="case">')
    captions = html.count('<span class="compared">head &amp; &lt;feet&gt;</span>')
    assert cases * (evaluate.LISTED - 1) <= captions <= cases * evaluate.LISTED, "one method of two has them"
    assert "was\ncompared." in html
    assert "<th>mIoU</th><th>F1</th>" in html and html.count("<th>mIoU</th>") == 1
    assert "mIoU, F1: as the models report them." in html and "| mIoU" in outcome.text
    svg = (plan_in.output / "plots" / "training.svg").read_text()
    assert svg.count('id="axes_') == 5


def test_without_captions_and_metrics_of_models_the_page_is_as_it_was(reported):
    plan, _ = reported
    html = (plan.output / "report.html").read_text()
    assert 'class="compared"' not in html and "compared.</p>" not in html and "models report" not in html
    assert (plan.output / "plots" / "training.svg").read_text().count('id="axes_') == 3


def test_names_and_notes_are_text_in_the_page_and_in_the_tables_whatever_they_hold(plan_in, images):
    titles = {"mdpr": "<script>alert(1)</script>", "bot": 'a|b "quoted" **c**'}
    methods = {name: dataclasses.replace(one, title=titles[name]) for one in plan_in.methods for name in [one.name]}
    plan = dataclasses.replace(
        plan_in,
        methods=tuple(methods.values()),
        runs=tuple(dataclasses.replace(run, method=methods[run.method.name]) for run in plan_in.runs),
        data=dataclasses.replace(plan_in.data, name="<b>set</b>"),
        notes={"mdpr": ["<i>note</i>"]},
        command="mdpr compare --methods '<u>'",
    )
    for run in plan.runs:
        made_up_ranking(made_up_result(plan, run), images, attention=run.method.name == "mdpr")
    write_all(plan)
    html = (plan.output / "report.html").read_text()
    assert not re.search(r"<script|<i>note|<b>set|<u>", html)
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8 and "&lt;b&gt;set&lt;/b&gt;" in html
    assert "a|b &#34;quoted&#34; **c**" in html and "<strong>c</strong>" not in html
    tables = (plan.output / "table.md").read_text()
    assert "| \\<script>alert(1)\\</script> |" in tables and 'a\\|b "quoted" \\*\\*c\\*\\*' in tables


def test_the_template_is_in_the_wheel():
    wheel = configparser.ConfigParser()
    wheel.read(Path(__file__).parents[2] / "setup.cfg")
    patterns = [pattern.strip() for pattern in wheel["options.package_data"]["mdpr_fastreid"].split(",")]
    package = Path(page.__file__).parents[1]
    shipped = {path for pattern in patterns for path in package.glob(pattern)}
    assert set((package / "compare" / "templates").iterdir()) <= shipped


def test_every_image_is_in_the_page_once(reported, images):
    plan, _ = reported
    html = (plan.output / "report.html").read_text()
    assert html.count("background-image:url(data:image/jpeg") == len(images) - 1
    assert 'class="photo gone"' in html


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut"])
def test_damaged_rank_lists_are_left_out(plan_in, images, content):
    for run in plan_in.runs[:2]:
        made_up_ranking(made_up_result(plan_in, run), images)
    (plan_in.folder(plan_in.runs[0]) / records.RANKING).write_bytes(content)
    seed, rankings = load_rankings(summarize(plan_in))
    assert (seed, list(rankings)) == (0, ["bot"])


def test_rank_lists_of_other_queries_are_left_out(plan_in, images):
    for run in plan_in.runs[:2]:
        made_up_ranking(made_up_result(plan_in, run), images)
    path = plan_in.folder(plan_in.runs[1]) / records.RANKING
    with np.load(path) as arrays:
        records.write_arrays(path, **{**arrays, "query": arrays["query"][::-1]})
    assert list(load_rankings(summarize(plan_in))[1]) == ["mdpr"]


def test_nothing_finished_is_a_page_too(plan_in):
    launch.prepare(plan_in)
    outcome = write_all(plan_in)
    html = (plan_in.output / "report.html").read_text()
    assert "nothing to compare yet" in html and ">Rank lists</h2>" not in html
    assert not outcome.failed


def test_the_same_results_give_the_same_pictures(reported):
    plan, _ = reported
    first = {path.name: path.read_bytes() for path in (plan.output / "plots").iterdir()}
    write_all(plan)
    assert first == {path.name: path.read_bytes() for path in (plan.output / "plots").iterdir()}


def test_report_only_trains_nothing(tmp_path, capsys):
    words = ["--data", "SynthReIDTiny", "--methods", "bot", "--backbone", "r18", "--size", "64x32", "--report-only"]
    assert main(["compare", *words, "--output", str(tmp_path / "new"), "MODEL.BACKBONE.PRETRAIN", "False"]) == 0
    told = capsys.readouterr().out
    assert "BoT, seed 0: not finished yet" in told
    assert f"`mdpr compare {' '.join(words[:-1])} --output {tmp_path / 'new'} MODEL" in told
    assert not (tmp_path / "new" / "runs").exists()


def test_queries_are_the_hardest_the_easiest_and_where_each_falls_behind():
    first = np.array([0.1, 0.9, 0.5, 0.8, 0.3, 0.95, 0.7, 0.2])
    second = np.array([0.1, 0.9, 0.9, 0.2, 0.4, 0.95, 0.7, 0.2])
    chosen = choose_queries({"a": first, "b": second}, {"a": "A", "b": "B"})
    assert [row for heading, row in chosen if heading == "hardest on average"] == [0, 7, 4]
    assert [row for heading, row in chosen if "for A" in heading] == [2]
    assert [row for heading, row in chosen if "for B" in heading] == [3]
    assert sorted(row for heading, row in chosen if heading == "easiest on average") == [1, 5]
    assert [row for _, row in choose_queries({"a": first[:2]}, {"a": "A"})] == [0, 1]


def test_of_an_iteration_that_was_repeated_the_last_point_counts(tmp_path):
    rows = '{"iteration": 1, "lr": 1.0}\n{"iteration": 0, "lr": 5.0}\n{"iteration": 1, "lr": 2.0, "mAP": 3.0}\n{"itera'
    (tmp_path / "metrics.json").write_text(rows)
    assert read_curves(tmp_path) == {"total_loss": [], "lr": [(0, 5.0), (1, 2.0)], "mAP": [(1, 3.0)]}


def test_lines_that_were_cut_are_left_out(tmp_path):
    rows = b'{"iteration": 0, "time": 3.0}\n{"iterat{"iteration": 1}\n\xff\x00\n[1]\n7\n{"iteration": 2, "time": 1.0}\n'
    (tmp_path / "metrics.json").write_bytes(rows + b'{"iteration": 3, "time": 2.0, "lr": 0.5}\n{"iteration": 4, "ti')
    assert read_curves(tmp_path, ("lr",)) == {"lr": [(3, 0.5)]}
    assert training_seconds(tmp_path) == 2.0
    assert training_seconds(tmp_path / "none") is None


def test_results_of_other_conditions_are_not_reported_and_that_is_said(plan_in):
    folder = made_up_result(plan_in, plan_in.runs[0])
    conditions = records.read_json(folder / records.CONDITIONS)
    records.write_json(folder / records.CONDITIONS, {**conditions, "SOLVER.BASE_LR": 9.0})
    summaries = summarize(plan_in)
    assert not summaries[0].results
    told = "MDPR, seed 0, was run under other conditions (SOLVER.BASE_LR 9.0 -> 0.00035): not shown"
    assert told in problems(plan_in, summaries)


@pytest.mark.parametrize("count", [2, 24])
def test_the_legends_of_many_methods_are_whole_and_tell_them_apart(plan_in, count):
    made_up_result(plan_in, plan_in.runs[0])
    (one, _) = summarize(plan_in)
    titles = [f"{k}: read: global feature of the hard branch" for k in range(count)]
    many = [dataclasses.replace(one, method=dataclasses.replace(one.method, title=title)) for title in titles]
    looks = {(line.get_color(), line.get_linestyle()) for line in plots._cmc(many).axes[0].lines}
    assert len(looks) == count
    for draw in (plots._cmc, plots._speed, plots._training):
        figure = draw(many)
        figure.canvas.draw()
        (legend,) = figure.legends
        box = legend.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1 and len(legend.get_texts()) == count
        plots.plt.close(figure)


def test_titles_and_numbers_of_the_training_plot_can_be_read(plan_in):
    folder = made_up_result(plan_in, plan_in.runs[0])
    losses = [{"iteration": step, "total_loss": loss, "lr": 0.1} for step, loss in enumerate((60.0, 20.0, 6.0))]
    (folder / "metrics.json").write_text("".join(f"{json.dumps(line)}\n" for line in losses))
    figure = plots._training(summarize(plan_in)[:1])
    figure.canvas.draw()
    panels = sorted(figure.axes, key=lambda axes: axes.get_position().x0)
    boxes = [axes._left_title.get_window_extent() for axes in panels]
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    numbers = {label.get_text() for label in panels[0].get_yticklabels(which="both")}
    assert {"6", "10", "20", "60"} <= numbers and not any("$" in number for number in numbers)
    plots.plt.close(figure)


@pytest.mark.parametrize(("low", "high"), [(37.84, 37.88), (10.0, 60.0)])
def test_an_axis_does_not_blow_up_a_fraction_of_a_point(low, high):
    shown_low, shown_high = _wide_enough(low, high)
    assert shown_low <= low < high <= shown_high
    assert shown_high - shown_low == pytest.approx(max(high - low, SMALLEST_SPAN))
