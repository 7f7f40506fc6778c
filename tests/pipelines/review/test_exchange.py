import io
import os
import resource
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.graph.objects import Objects
from pipelines.graph.revisions import read_revision
from pipelines.look.layers import Catalogue
from pipelines.review.corrections import remove_corrections
from pipelines.review.exchange import export_folder, import_folder
from pipelines.run.workspace import holding_workspace
from stages.engine.errors import InputError
from stages.io.label_maps import encode_label_map, read_label_map
from stages.io.tables import IMAGES
from tests.pipelines.made_repository import Made, MadeRepository, dataset_stage, parquet, png

SIZE = (6, 8)
FINAL = "labels_final/labels"
GREEN, RED, BLACK = (0, 128, 0), (0, 0, 128), (0, 0, 0)  # dog, cat, background; BGR of cv2


def labels_of(image_id: str) -> np.ndarray:
    labels = np.zeros(SIZE, np.uint8)
    labels[1:4, 1:5] = 2 if image_id == "dog" else 1
    labels[5, :] = 255
    return labels


def jpeg(orientation: int) -> tuple[bytes, int, int]:
    """A photograph, and its width and height upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    size = SIZE if orientation in (6, 8) else SIZE[::-1]
    Image.new("RGB", size, (200, 100, 50)).save(buffer, format="JPEG", exif=exif)
    return buffer.getvalue(), SIZE[1], SIZE[0]


@pytest.fixture
def repository(tmp_path: Path) -> MadeRepository:
    """Training images "cat" (a PNG), "dog", "turned" (stored on its side); "held" is held out."""
    made = MadeRepository(tmp_path / "repository")
    (made.root / ".gitignore").write_text("/.dvc/cache\n/.dvc/tmp\n/.seedmask\n")
    photographs = {"cat": np.zeros((*SIZE, 3), np.uint8), "dog": jpeg(1), "turned": jpeg(6)}
    scenes, dataset = dataset_stage({**photographs, "held": jpeg(1)})
    outs = dict(dataset.outs)
    content = outs["data/dataset/images.parquet"]
    assert isinstance(content, bytes)
    images = pd.read_parquet(io.BytesIO(content))
    images.loc[images.image_id == "held", "split"] = "val"
    outs["data/dataset/images.parquet"] = parquet(images, IMAGES)
    files = {f"{name}.png": encode_label_map(labels_of(name)) for name in photographs}
    stages = {"scenes": scenes, "dataset": Made(outs, dataset.deps, dataset.params)}
    made.record({**stages, "labels_final": Made({f"data/{FINAL}": files}, labels=["final"])})
    return made


def catalogue(repository: MadeRepository) -> Catalogue:
    return Catalogue(Objects(repository.root), read_revision(repository.root))


def export(repository: MadeRepository, folder: Path, *image_ids: str) -> None:
    found = catalogue(repository)
    export_folder(found, image_ids or ("cat", "dog", "turned"), found.layer(FINAL), folder)


def edit(folder: Path, image_id: str, rows: slice, colour: tuple[int, ...]) -> None:
    """As a program that knows colours alone does it."""
    path = str(folder / f"SegmentationClass/{image_id}.png")
    pixels = cv2.imread(path, cv2.IMREAD_COLOR)
    assert pixels is not None
    pixels[rows] = colour
    cv2.imwrite(path, pixels)


def corrections(repository: MadeRepository) -> list[str]:
    folder = repository.root / "data/corrections"
    return sorted(path.name for path in folder.glob("*")) if folder.exists() else []


def test_an_edit_in_colours_comes_back_as_exactly_those_labels(
    repository: MadeRepository, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    export(repository, folder)
    edit(folder, "cat", slice(0, 2), GREEN)
    edit(folder, "turned", slice(1, 4), RED)
    found = import_folder(repository.root, catalogue(repository), folder)

    expected = labels_of("cat")
    expected[0:2] = 2
    assert [one.image_id for one in found] == ["cat", "turned"]
    assert (found[0].pixels, found[0].share) == (16, pytest.approx(100 / 3))
    assert found[1].pixels == 12
    kept = repository.root / found[0].path
    assert kept.read_bytes() == encode_label_map(expected)
    assert corrections(repository) == [
        ".gitignore", "cat.png", "cat.png.dvc", "turned.png", "turned.png.dvc"
    ]  # fmt: skip
    assert import_folder(repository.root, catalogue(repository), folder) == [], "once is enough"
    export(repository, folder)  # nothing is lost that was not imported

    remove_corrections(repository.root, ["cat"])
    assert corrections(repository) == [".gitignore", "turned.png", "turned.png.dvc"]
    with pytest.raises(InputError, match=r"no image 'turnd'; did you mean 'turned'\?"):
        remove_corrections(repository.root, ["turned", "turnd"])
    (kept.parent / "loose.png").write_bytes(encode_label_map(expected))
    remove_corrections(repository.root, ["turned", "loose"])
    assert not [name for name in corrections(repository) if name.startswith(("turned", "loose"))]


def test_the_folder_is_read_alike_by_palette_and_by_colour(
    repository: MadeRepository, tmp_path: Path
) -> None:
    export(repository, tmp_path / "out", "dog", "cat")
    mask = tmp_path / "out/SegmentationClass/dog.png"
    assert (read_label_map(mask) == labels_of("dog")).all()
    colours = cv2.imread(str(mask), cv2.IMREAD_COLOR)
    assert colours is not None
    assert (colours[2, 2].tolist(), colours[5, 0].tolist()) == ([0, 128, 0], [192, 224, 224])
    table = (tmp_path / "out/labelmap.txt").read_text().splitlines()
    assert table[1:] == [
        "background:0,0,0::", "cat:128,0,0::", "dog:0,128,0::", "ignored:224,224,192::"
    ]  # fmt: skip
    assert (tmp_path / "out/ImageSets/Segmentation/default.txt").read_text() == "cat\ndog\n"
    objects = read_label_map(tmp_path / "out/SegmentationObject/dog.png")
    assert np.unique(objects).tolist() == [0, 1, 2]
    assert ((objects == 0) == (labels_of("dog") == 0)).all()


def test_photographs_are_upright_and_otherwise_as_they_were(
    repository: MadeRepository, tmp_path: Path
) -> None:
    export(repository, tmp_path / "out")
    images = tmp_path / "out/JPEGImages"
    assert sorted(path.name for path in images.iterdir()) == ["cat.png", "dog.jpg", "turned.png"]
    assert (images / "dog.jpg").read_bytes() == jpeg(1)[0]
    with Image.open(images / "turned.png") as turned:
        assert turned.size == SIZE[::-1]
        assert dict(turned.getexif()) == {}


def test_a_later_export_adds_to_the_folder(repository: MadeRepository, tmp_path: Path) -> None:
    export(repository, tmp_path / "out", "cat")
    export(repository, tmp_path / "out", "dog")
    assert (tmp_path / "out/ImageSets/Segmentation/default.txt").read_text() == "cat\ndog\n"


def test_no_edit_is_written_over(repository: MadeRepository, tmp_path: Path) -> None:
    export(repository, tmp_path / "out", "cat", "dog")
    edit(tmp_path / "out", "cat", slice(0, 1), GREEN)
    before = (tmp_path / "out/SegmentationClass/cat.png").read_bytes()
    with pytest.raises(InputError, match=r"cat.png: edited and not imported; `review import"):
        export(repository, tmp_path / "out", "dog", "cat")
    assert (tmp_path / "out/SegmentationClass/cat.png").read_bytes() == before
    export(repository, tmp_path / "out", "dog", "turned")


def test_a_folder_of_somebody_else_is_left_alone(
    repository: MadeRepository, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    export(repository, other, "cat")
    (other / "labelmap.txt").write_text("cat:1,2,3::\n")
    with pytest.raises(InputError, match=r"labelmap.txt: has other classes or colours"):
        export(repository, other, "dog")
    holiday = tmp_path / "holiday"
    holiday.mkdir()
    (holiday / "beach.jpg").write_bytes(b"sand")
    with pytest.raises(InputError, match=r"holiday: holds other files"):
        export(repository, holiday)
    with pytest.raises(InputError, match=r"beach.jpg: not a folder"):
        export(repository, holiday / "beach.jpg")
    assert [path.name for path in holiday.iterdir()] == ["beach.jpg"]


PLACES = (
    "JPEGImages",
    "SegmentationClass",
    "SegmentationObject",
    "ImageSets",
    "ImageSets/Segmentation",
    ".exported",
    "labelmap.txt",
    "SegmentationClass/cat.png",
    "SegmentationClass/dog.png",
    ".exported/cat.png",
    "JPEGImages/dog.jpg",
)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["link", "dangling", "pipe"])
@pytest.mark.parametrize("place", PLACES)
def test_what_leads_out_of_the_folder_is_refused(
    repository: MadeRepository, tmp_path: Path, place: str, kind: str
) -> None:
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    export(repository, folder, "cat")
    edit(folder, "cat", slice(0, 2), GREEN)
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        path.rename(elsewhere)
    elif path.exists():
        path.rename(tmp_path / "elsewhere.png")
        elsewhere = tmp_path / "elsewhere.png"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere if kind == "link" else tmp_path / "nowhere")
    before = contents(tmp_path)
    expected = "no plain file" if kind == "pipe" else "a link"
    told = []
    for act in (
        lambda: export(repository, folder, "dog"),
        lambda: import_folder(repository.root, catalogue(repository), folder),
    ):
        with pytest.raises(InputError) as error:
            act()
        told.append(str(error.value))
    assert contents(tmp_path) == before
    assert f"{path}: {expected}; expected only files and folders in {folder}" in told
    assert corrections(repository) == []


def test_a_huge_mask_is_refused_before_it_is_decoded(
    repository: MadeRepository, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    export(repository, folder, "cat")
    Image.new("P", (9_400, 9_400)).save(folder / "SegmentationClass/dog.png")
    began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"size \(9400, 9400\); expected \(6, 8\) of its image"):
        import_folder(repository.root, catalogue(repository), folder)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - began
    assert grown < 200_000, "KiB; its pixels in colours are 353 MB"


def test_an_image_without_labels_is_not_exported(
    repository: MadeRepository, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"no image 'dgo'; did you mean 'dog'\?"):
        export(repository, tmp_path / "out", "cat", "dgo")
    with pytest.raises(InputError, match=r"no image 'held'"):
        export(repository, tmp_path / "out", "held")
    assert not (tmp_path / "out").exists()


def add_mask(folder: Path, name: str, pixels: np.ndarray[Any, Any] | None = None) -> None:
    path = folder / "SegmentationClass" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(np.zeros((*SIZE, 3), np.uint8) if pixels is None else pixels))


@pytest.mark.parametrize(
    ("name", "pixels", "expected"),
    [
        ("zebra.png", None, r"zebra.png: no image 'zebra'"),
        ("held.png", None, r"held.png: a validation image"),
        ("turned.jpg", None, r"turned.jpg: expected only <image_id>.png"),
        ("x..png", None, r"no image 'x\.'"),
        ("a b;rm.png", None, r"image id 'a b;rm'"),
        ("--outs.png", None, r"no image '--outs'"),
        ("turned.png", np.zeros((8, 6), np.uint8), r"size \(8, 6\); expected \(6, 8\)"),
        ("turned.png", np.full(SIZE, 3, np.uint8), r"value 3 is no class"),
        ("turned.png", np.full((*SIZE, 3), 9, np.uint8), r"x=0, y=0: colour 9,9,9 is not in"),
    ],
)
def test_one_bad_file_and_nothing_is_written(
    repository: MadeRepository,
    tmp_path: Path,
    name: str,
    pixels: np.ndarray[Any, Any] | None,
    expected: str,
) -> None:
    folder = tmp_path / "out"
    export(repository, folder)
    edit(folder, "cat", slice(0, 2), GREEN)  # read before the bad one, or after it
    add_mask(folder, name, pixels)
    with pytest.raises(InputError, match=expected) as told:
        import_folder(repository.root, catalogue(repository), folder)
    assert "\n" not in str(told.value)
    assert corrections(repository) == []


def test_colours_and_classes_of_the_tool_are_understood(
    repository: MadeRepository, tmp_path: Path
) -> None:
    """As CVAT's zip, unpacked over the folder: its own colours; images without objects missing."""
    folder = tmp_path / "out"
    export(repository, folder)
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:128,0,0::\nignored:9,9,9::\n"
    )
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[1:4, 1:5] = (128, 0, 0)  # dog there, cat here
    pixels[5] = (9, 9, 9)
    add_mask(folder, "turned.png", pixels)
    found = import_folder(repository.root, catalogue(repository), folder)
    assert [(one.image_id, one.pixels) for one in found] == [("turned", 12)]
    corrected = read_label_map(repository.root / found[0].path)
    assert (corrected == labels_of("dog")).all()


def test_a_folder_that_was_not_exported_is_compared_with_the_final_labels(
    repository: MadeRepository, tmp_path: Path
) -> None:
    same, other = labels_of("dog"), labels_of("cat")
    other[0, 0] = 2
    add_mask(tmp_path / "mine", "dog.png", same)
    add_mask(tmp_path / "mine", ".hidden.png", same)
    assert import_folder(repository.root, catalogue(repository), tmp_path / "mine") == []
    with pytest.raises(InputError, match=r"nothing: has no folder SegmentationClass"):
        import_folder(repository.root, catalogue(repository), tmp_path / "nothing")
    add_mask(tmp_path / "mine", "cat.png", other)
    found = import_folder(repository.root, catalogue(repository), tmp_path / "mine")
    assert [(one.image_id, one.pixels) for one in found] == [("cat", 1)]
    assert not (tmp_path / "mine/.exported").exists()


def test_a_run_that_holds_the_workspace_is_named_and_nothing_written(
    repository: MadeRepository, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    export(repository, folder)
    edit(folder, "cat", slice(0, 2), GREEN)
    held = rf"another run holds this workspace \(process {os.getpid()}.*--wait$"
    with holding_workspace(repository.root):
        with pytest.raises(InputError, match=held):
            import_folder(repository.root, catalogue(repository), folder)
        assert corrections(repository) == []
    import_folder(repository.root, catalogue(repository), folder)
    kept = corrections(repository)
    with holding_workspace(repository.root), pytest.raises(InputError, match=held):
        remove_corrections(repository.root, ["cat"])
    assert corrections(repository) == kept != []
