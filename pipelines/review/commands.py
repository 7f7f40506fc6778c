"""The command `review`: which images to correct by hand, out to a tool and back."""

import argparse
import csv
import sys
from pathlib import Path

from stages.engine.errors import InputError

MEASURES = ("disagreement", "entropy", "unfilled")
VERDICTS = ("good", "bad", "to-correct")


def add_parsers(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `review` to the command line."""
    review = commands.add_parser("review", help="choose images and correct their labels by hand")
    kinds = review.add_subparsers(dest="kind", required=True)
    rank = kinds.add_parser("rank", help="images to look at, the most doubtful first, as CSV")
    rank.add_argument("--by", choices=MEASURES, default="unfilled", help="default: unfilled")
    rank.add_argument("--most", type=int, metavar="N", help="only the first N")
    rank.add_argument("--rev", default="workspace", help="a commit or an experiment")
    rank.set_defaults(act=rank_command)
    mark = kinds.add_parser("mark", help="remember what you think of an image's labels")
    mark.add_argument("image", metavar="IMAGE")
    mark.add_argument("mark", choices=(*VERDICTS, "none"))
    mark.set_defaults(act=mark_command)
    export = kinds.add_parser("export", help="images and labels as a folder for CVAT")
    export.add_argument("folder", nargs="?", type=Path, metavar="FOLDER")
    export.add_argument("image", nargs="*", metavar="IMAGE")
    export.add_argument("--marked", choices=VERDICTS, help="the images with this mark")
    export.add_argument("--rev", default="workspace", help="a commit or an experiment")
    export.add_argument("--layer", help="default: the final labels")
    export.add_argument("--csv", type=Path, metavar="FILE", help="save the marks to a file")
    export.set_defaults(act=export_command)
    back = kinds.add_parser("import", help="make corrections of the labels edited in a folder")
    back.add_argument("folder", type=Path, metavar="FOLDER")
    back.add_argument("--wait", action="store_true", help="for a run in this workspace")
    back.set_defaults(act=import_command)
    remove = kinds.add_parser("remove", help="take corrections back")
    remove.add_argument("image", nargs="+", metavar="IMAGE")
    remove.add_argument("--wait", action="store_true", help="for a run in this workspace")
    remove.set_defaults(act=remove_command)


def rank_command(root: Path, arguments: argparse.Namespace) -> None:
    """`review rank`: a CSV on stdout."""
    from pipelines.look.layers import read_catalogue
    from pipelines.review.doubt import worst_first

    if arguments.most is not None and arguments.most < 1:
        raise InputError(f"review rank: --most {arguments.most}; expected 1 or more")
    rows = csv.writer(sys.stdout, lineterminator="\n")
    doubts = worst_first(read_catalogue(root, arguments.rev), arguments.by)
    rows.writerow(["image_id", *MEASURES])
    for one in doubts[: arguments.most]:
        values = [getattr(one, measure) for measure in MEASURES]
        rows.writerow(
            [one.image_id, *("" if value is None else f"{value:.2f}" for value in values)]
        )
    sys.stdout.flush()


def mark_command(root: Path, arguments: argparse.Namespace) -> None:
    """`review mark`: of the final labels in the workspace."""
    from pipelines.look.layers import read_catalogue
    from pipelines.review.corrections import check_known
    from pipelines.review.doubt import final_layer
    from pipelines.review.marks import Marks, Verdict

    layer = final_layer(read_catalogue(root))
    check_known(arguments.image, layer.files, f"layer {layer.name!r}")
    verdict = None if arguments.mark == "none" else Verdict(arguments.mark)
    Marks(root).set(arguments.image, verdict, layer.files[arguments.image][1])


def export_command(root: Path, arguments: argparse.Namespace) -> None:
    """`review export`: a folder of images, or the marks as a CSV."""
    from pipelines.look.layers import read_catalogue
    from pipelines.review.doubt import final_layer
    from pipelines.review.exchange import export_folder
    from pipelines.review.marks import Marks

    if arguments.csv:
        if arguments.folder or arguments.marked:
            raise InputError("review export: expected --csv FILE alone, or a folder")
        print(f"{arguments.csv}: {Marks(root).save_csv(arguments.csv)} marks")
        return
    if not arguments.folder or not (arguments.image or arguments.marked):
        raise InputError("review export: expected FOLDER and IMAGE..., or FOLDER --marked MARK")
    catalogue = read_catalogue(root, arguments.rev)
    final = final_layer(catalogue)
    layer = catalogue.layer(arguments.layer) if arguments.layer else final
    images = dict.fromkeys(arguments.image)
    marked = [mark for mark in Marks(root).read().values() if mark.verdict == arguments.marked]
    stale = []
    for mark in marked:
        if mark.image_id not in final.files or mark.is_stale(final.files[mark.image_id][1]):
            stale.append(mark.image_id)
        else:
            images[mark.image_id] = None
    left_out = [image_id for image_id in stale if image_id not in images]
    note = f"left out, because their labels are others now: {', '.join(left_out)}"
    if not images:
        raise InputError(
            f"mark {arguments.marked!r}: no image; {note if left_out else 'none has it'}"
        )
    export_folder(catalogue, list(images), layer, arguments.folder)
    print(f"{arguments.folder}: {len(images)} images")
    if left_out:
        print(note)


def import_command(root: Path, arguments: argparse.Namespace) -> None:
    """`review import`: corrections, and what to run next."""
    from pipelines.look.layers import read_catalogue
    from pipelines.review.corrections import command_that_applies
    from pipelines.review.exchange import import_folder

    corrections = import_folder(root, read_catalogue(root), arguments.folder, wait=arguments.wait)
    for one in corrections:
        print(f"{one.path}: {one.pixels} pixels changed ({one.share:.2f} %)")
    if corrections:
        print(f"now: {command_that_applies(root)}; git add data/corrections")
    else:
        print(f"{arguments.folder}: no label was edited")


def remove_command(root: Path, arguments: argparse.Namespace) -> None:
    """`review remove`: the automatic labels come back with the next run."""
    from pipelines.review.corrections import command_that_applies, remove_corrections

    images = list(dict.fromkeys(arguments.image))
    remove_corrections(root, images, wait=arguments.wait)
    print(f"{len(images)} corrections removed; now: {command_that_applies(root)}")
