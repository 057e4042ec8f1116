"""The line that says how far a comparison is."""

import dataclasses
import io
import time

import pytest
from support.comparisons import made_up_result

from mdpr_fastreid.compare import records
from mdpr_fastreid.compare.progress import ComparisonProgress, duration


@pytest.fixture
def line(plan_in):
    """A status line of four runs, and what it writes."""
    for run in plan_in.runs:
        plan_in.folder(run).mkdir(parents=True)
    stream = io.StringIO()
    return plan_in, ComparisonProgress(plan_in, plan_in.runs, stream), stream


def test_it_names_what_runs_how_far_it_is_and_what_is_left(line):
    plan, status, stream = line
    records.write_progress(plan.folder(plan.runs[0]), "training", iteration=30, total=120, seconds_left=90)
    status.show([(plan.runs[0], time.monotonic() - 30)])
    # 90 s of this one, and three that are taken to need as long as it: 120 s each
    assert stream.getvalue() == "[0 of 4 done] mdpr/seed0: iteration 30/120, 2 min left | 8 min left of all\n"


def test_a_method_that_ran_before_needs_what_it_needed(line):
    plan, status, stream = line
    for run, seconds in zip(plan.runs[:2], (600, 60), strict=True):
        made_up_result(plan, run)
        status.ended(run, seconds)
    status.show([(plan.runs[2], time.monotonic() - 60)])
    assert "mdpr/seed0: mAP 40.0, Rank-1 30.0, 10 min\n" in stream.getvalue()
    # 540 s of the second run of MDPR, and 60 s of the second one of BoT
    assert stream.getvalue().endswith("[2 of 4 done] mdpr/seed1: starting, 60 s so far | 10 min left of all\n")


def test_before_anything_is_known_it_says_so(line):
    plan, status, stream = line
    status.show([(plan.runs[0], time.monotonic())])
    assert "time left unknown yet" in stream.getvalue()


def test_many_jobs_of_a_cluster_are_counted_and_nothing_is_foreseen(plan_in):
    stream = io.StringIO()
    five = [dataclasses.replace(plan_in.runs[0], seed=seed) for seed in range(5)]
    plan = dataclasses.replace(plan_in, runs=tuple(five))
    status = ComparisonProgress(plan, five, stream, timed=False)
    for run, phase in zip(five, ("queued", "queued", "evaluating", "queued", ""), strict=True):
        plan.folder(run).mkdir(parents=True)
        if phase:
            records.write_progress(plan.folder(run), phase)
    status.show([(run, 0.0) for run in five])
    made_up_result(plan, five[2])
    status.ended(five[2], 5)
    assert stream.getvalue() == (
        "[0 of 5 done] 3 queued; 1 evaluating; 1 starting\nmdpr/seed2: mAP 40.0, Rank-1 30.0\n"
    )


def test_lines_come_now_and_then_and_not_each_time(line):
    plan, status, stream = line
    for _ in range(5):
        status.show([(plan.runs[0], time.monotonic())])
    assert stream.getvalue().count("\n") == 1


def test_a_terminal_has_one_line_that_is_rewritten(plan_in):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    folder = plan_in.folder(plan_in.runs[0])
    folder.mkdir(parents=True)
    status = ComparisonProgress(plan_in, plan_in.runs, stream)
    status.show([(plan_in.runs[0], time.monotonic())])
    records.write_json(folder / records.FAILURE, {"error": "no memory", "log": "log.txt"})
    status.ended(plan_in.runs[0], 5)
    *rewritten, stays = stream.getvalue().split("\r")
    assert any(part.startswith("[0 of 4 done] mdpr/seed0: starting, 0 s so far") for part in rewritten)
    assert not any("\n" in part for part in rewritten)
    assert stays == "mdpr/seed0: failed: no memory (see log.txt), 5 s\n"
    status.close()
    assert not stream.getvalue().split("\r")[-1].strip(), "the line is taken off"


@pytest.mark.parametrize(("seconds", "words"), [(8, "8 s"), (89, "89 s"), (240, "4 min"), (7500, "2 h 5 min")])
def test_durations_are_as_people_say_them(seconds, words):
    assert duration(seconds) == words
