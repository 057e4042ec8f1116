"""``mdpr data``: look at a data set, and for what is wrong with it."""

import argparse
import os
from collections import Counter
from pathlib import Path

from mdpr_fastreid.errors import UsageError, printable
from mdpr_fastreid.progress import Progress

HELP = "count a data set, show a sample of it, and check every image"
_LISTED = 20
_SIZES = {"width": "width", "height": "height"}
# The columns of the table, and what a report calls their counts
_OF_IMAGES = {
    "identities": "identities",
    "images": "images",
    "cameras": "cameras",
    "images an identity": "images_per_identity",
    **_SIZES,
}
_OF_TRACKLETS = {
    "identities": "identities",
    "tracklets": "tracklets",
    "images of their own": "images",
    "frames": "frames",
    "cameras": "cameras",
    "frames a tracklet": "frames_per_tracklet",
    **_SIZES,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    root = os.getenv("FASTREID_DATASETS", "datasets")
    parser.add_argument("sets", nargs="+", metavar="NAME|DIR", help="registered data set, or folder of your own images")
    parser.add_argument("--root", default=root, help="data root (default: $FASTREID_DATASETS or datasets)")
    parser.add_argument(
        "--sample",
        type=Path,
        metavar="PNG",
        help="write a sheet: identities by cameras, or tracklets (one set only)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, all findings listed")
    parser.add_argument("--camera-pattern", default="", metavar="REGEX", help="as DATASETS.CUSTOM_CAMERA_PATTERN")
    parser.add_argument("--groups", default="", metavar="NAME", help="part grouping of the masks, as INPUT.MASK.GROUPS")
    parser.add_argument("--mask-folder", default="", metavar="NAME", help="as INPUT.MASK.FOLDER")
    parser.add_argument("--workers", type=int, help="threads that decode (default: one a core)")


def run(args: argparse.Namespace) -> int:
    """Print the report of each set; 1 if there is an error in one."""
    from mdpr_fastreid.data.check import check, find_masks, open_dataset, outputs, pictures_of, sample_sheet

    if args.workers is not None and args.workers < 1:
        raise UsageError(f"--workers {args.workers}: give at least 1")
    if args.sample and len(args.sets) > 1:
        raise UsageError("--sample is for one set at a time")
    if args.sample:
        outputs.need_sheet_place(args.sample)
    if args.json:
        outputs.need_report_place(args.json)
    reports = []
    for name in args.sets:
        data = open_dataset(name, args.root, args.camera_pattern)
        masks = find_masks(data, args.groups, args.mask_folder)
        total = len(pictures_of(data)) + len(masks.files)
        progress = Progress(total, f"checking {printable(name)}")
        report = check(data, progress.step, args.workers, masks)
        progress.close()
        reports.append(report)
        _print(report)
        if args.sample:
            sheet, unwritten = sample_sheet(data, masks)
            outputs.write_sheet(args.sample, sheet)
            print(f"sample: {printable(str(args.sample))}")
            if unwritten:
                named = ", ".join(f"{number} is {printable(name)}" for number, name in unwritten.items())
                print(f"no font here has the letters of some names, which are numbers there: {named}")
    if args.json:
        content = [{**report._asdict(), "findings": [f._asdict() for f in report.findings]} for report in reports]
        outputs.write_report(args.json, content)
    return 1 if any(report.errors for report in reports) else 0


def _print(report) -> None:
    from tabulate import tabulate

    columns = _OF_TRACKLETS if report.tracklets else _OF_IMAGES
    rows = [
        (part, *(_cell((counts | report.tracklets.get(part, {}))[key]) for key in columns.values()))
        for part, counts in report.splits.items()
    ]
    print(f"{printable(report.name)} in {printable(report.folder)} ({list(columns)[-3]}: min / median / max)")
    print(tabulate(rows, ("split", *columns), disable_numparse=True))
    if report.masks:
        _print_masks(report.masks)
    for (level, kind), count in Counter((f.level, f.kind) for f in report.findings).items():
        print(f"{level}: {kind}: {count}")
        of_kind = [printable(finding.message) for finding in report.findings if finding.kind == kind]
        print("\n".join(f"  {message}" for message in of_kind[:_LISTED]))
        if count > _LISTED:
            print(f"  and {count - _LISTED} more; --json FILE lists all")
    counts = f"findings: {len(report.findings)}, of them errors: {len(report.errors)}"
    print(counts if report.findings else "nothing wrong")


def _cell(value: int | list) -> str:
    """A count; the ends of a range; or the least, the median and the most."""
    if isinstance(value, int):
        return f"{value:,}"
    if len(value) == 3:
        return "{} / {:g} / {}".format(*value)
    return "-".join(map(str, dict.fromkeys(value)))


def _print_masks(masks: dict) -> None:
    from tabulate import tabulate

    splits = masks["splits"]
    rows = [(f"images {key} a mask", *(f"{split[key]:,}" for split in splits.values())) for key in ("with", "without")]
    names = dict.fromkeys(name for split in splits.values() for name in split["visible"])
    rows += [
        (name, *(f"{split['visible'][name]:.2f}" if split["visible"] else "" for split in splits.values()))
        for name in names
    ]
    grouping = f", grouping {masks['groups']}" if masks["groups"] else ""
    print(f"masks{grouping} (behind a part: share of the images with a mask in which it is visible)")
    print(tabulate(rows, ("", *splits), disable_numparse=True, colalign=("left", *("right",) * len(splits))))
    if masks["ungrouped_fields"]:
        print("the masks are confidence fields: --groups pifpaf_eight or pifpaf_five_v counts their parts")
