"""Runs that do nothing but what a test tells them, for jobs."""

import json
from pathlib import Path

_NUMBERS = dict.fromkeys(("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP"), 50.0)
_RESULT = {
    "metrics": _NUMBERS,
    "reranked": _NUMBERS,
    "config_hash": "",
    "feature_length": 1,
    "cmc": [50.0],
    "training_images_per_second": 1.0,
    "inference_images_per_second": 1.0,
    "environment": {},
}
_PLAY = "play.json"


def finish(folder: Path) -> None:
    """Leave a result, as a run does."""
    (folder / "result.json").write_text(json.dumps(_RESULT))


def rehearse(folder: Path, *words: str) -> None:
    """Have the jobs of a run do these, one each: ``die``, ``fail``, ``wait`` or ``finish``."""
    (folder / _PLAY).write_text(json.dumps(words))


def play(folder: str, name: str, imports: tuple[str, ...]) -> None:
    """What a job does: the first word of its run's, which is taken off."""
    import os
    import signal
    import time

    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as the job of a run does
    place = Path(folder)
    word, *others = json.loads((place / _PLAY).read_text())
    rehearse(place, *others)
    with (place / "played").open("a") as file:
        print(word, os.getpid(), file=file)
    if word == "die":
        os.kill(os.getpid(), 9)
    if word == "fail":
        (place / "failure.json").write_text(json.dumps({"error": "NaN", "log": "log.txt"}))
    if word == "wait":
        time.sleep(60)
    if word == "finish":
        finish(place)
