"""``mdpr prepare``: where data sets and pretrained weights come from, and whether they are here and whole."""

import argparse
import difflib
import os
import re
from pathlib import Path

from tabulate import tabulate

from mdpr_fastreid.errors import UsageError

HELP = "say where a data set or pretrained weights come from, where they belong and whether they are whole"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one of the table that is printed without it")
    default_root = os.getenv("FASTREID_DATASETS", "datasets")
    parser.add_argument(
        "--root",
        type=Path,
        default=Path(default_root),
        help="data root (default: $FASTREID_DATASETS or datasets)",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch pretrained weights whose terms let anyone do so, and compare their hash; never a data set",
    )


def run(args: argparse.Namespace) -> int:
    """Print a table of everything, or all about one thing; 0 if that is here and whole, else 1."""
    if args.name is None:
        if args.download:
            raise UsageError("--download needs the NAME of what to fetch")
        return _print_all(args.root)
    return _print_one(args.name, args.root, args.download)


def _print_all(root: Path) -> int:
    from mdpr_fastreid.data.prepared import data_state, weights_state
    from mdpr_fastreid.data.sources import DATA_SOURCES, WEIGHT_SOURCES

    rows = [(s.name, s.title, state.word, state.place) for s in DATA_SOURCES for state in [data_state(s, root)]]
    print(tabulate(rows, headers=["data set", "", "state", "place"], tablefmt="simple"))
    print()
    rows = [(s.name, s.backbone, state.word, state.place) for s in WEIGHT_SOURCES for state in [weights_state(s)]]
    print(tabulate(rows, headers=["weights", "", "state", "place"], tablefmt="simple"))
    print("\n`mdpr prepare NAME` says where one comes from and on what terms")
    return 0


def _print_one(name: str, root: Path, download: bool) -> int:
    from mdpr_fastreid.data.prepared import data_state, weights_state
    from mdpr_fastreid.data.sources import WeightSource

    source = _named(name)
    if isinstance(source, WeightSource):
        if download:
            _download(source)
        state, what = weights_state(source), source.backbone
    else:
        if download:
            raise UsageError(
                f"{source.name} is rendered, not downloaded: mdpr synth --preset {source.preset}"
                if source.preset
                else f"{source.name} is not downloaded, as its terms are its authors' to give: {_origin(source)}"
            )
        state, what = data_state(source, root), source.title
    print(f"{source.name}: {what}")
    facts = [("paper", source.paper), ("from", _origin(source)), ("terms", source.terms), ("place", state.place)]
    facts.append(("setting", _setting(source, state.place)))
    if getattr(source, "config", ""):
        facts.append(("config", f"configs/{source.config} has the size, the pixels and the head that fit"))
    facts += [("state", state.word), *(("", line) for line in state.details)]
    print("\n".join(f"  {key:<8} {value}" for key, value in facts))
    if state.word in ("missing", "damaged") and (way := _way(source)):
        print(f"  {'get it':<8} {'delete it, then ' if state.word == 'damaged' else ''}{way}")
    return 0 if state.word in ("complete", "unverified") else 1


def _setting(source, place: Path) -> str:
    from mdpr_fastreid.data.prepared import published_counts
    from mdpr_fastreid.data.sources import WeightSource

    if isinstance(source, WeightSource):
        model = f"MODEL.BACKBONE.NAME build_timm_backbone MODEL.BACKBONE.TIMM.MODEL {source.model} "
        return f"{model if source.model else ''}MODEL.BACKBONE.PRETRAIN True MODEL.BACKBONE.PRETRAIN_PATH {place}"
    to_train = source.preset or "train" in published_counts(source)
    return " ".join(f"{key} '(\"{source.name}\",)'" for key in ("DATASETS.NAMES", "DATASETS.TESTS")[not to_train :])


def _named(name: str):
    from mdpr_fastreid.data.sources import DATA_SOURCES, WEIGHT_SOURCES

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower())

    sources = {}
    for source in (*DATA_SOURCES, *WEIGHT_SOURCES):
        sources[plain(source.name)] = sources[plain(getattr(source, "title", source.name))] = source
    if plain(name) in sources:
        return sources[plain(name)]
    nearest = [known for known in sources if plain(name) and plain(name) in known]
    nearest += difflib.get_close_matches(plain(name), sources, n=3, cutoff=0.65)
    hint = f"did you mean {' or '.join(list(dict.fromkeys(sources[n].name for n in nearest))[:4])}? " if nearest else ""
    raise UsageError(f"nothing is known of {name!r}; {hint}`mdpr prepare` lists all")


def _origin(source) -> str:
    return source.page or "no page: it is not given out any more"


def _way(source) -> str:
    if getattr(source, "preset", ""):
        return f"mdpr synth --preset {source.preset}, or by itself when it is first used"
    if getattr(source, "url", ""):
        return f"mdpr prepare {source.name} --download"
    return "from its authors, into that place" if source.page else ""


def _download(source) -> None:
    """Fetch a file with a progress bar; it appears under its name when its hash is right.

    Raises:
        UsageError: its terms do not let anyone download it, or it cannot be fetched.
    """
    import torch

    from mdpr_fastreid.data.prepared import sha256_prefix, weights_folder

    if not source.url:
        raise UsageError(f"{source.name} is not downloaded, as its terms are its authors' to give: {source.page}")
    path = weights_folder() / source.file
    if path.exists():
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(source.url, str(path), hash_prefix=sha256_prefix(source.file), progress=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"{source.name} cannot be fetched from {source.url} ({reason}); fetch it elsewhere and put it at {path}"
        ) from error
