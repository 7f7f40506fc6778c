import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from models.average_precision import mask_overlaps
from models.instance_scores import (
    THRESHOLDS,
    Objects,
    coco_precision,
    image_precision,
    names_right,
    overlaps,
    share_found,
    voc_precision,
)
from tests.reference import average_precision as reference
from tests.reference.instances import shown_class


def drawn(seed, images=4):
    """Masks of true objects and of shaken ones, [N, 20, 20], with categories and scores."""
    generator = np.random.default_rng(seed)
    sets = []
    for _ in range(images):
        masks, shaken = [], []
        for _ in range(generator.integers(1, 5)):
            y, x, h, w = generator.integers(2, 9, 4)
            masks.append(np.zeros((20, 20), bool))
            masks[-1][y : y + h, x : x + w] = True
            shaken.append(np.roll(masks[-1], generator.integers(-2, 3, 2), (0, 1)))
        labels = generator.integers(1, 3, len(masks)).tolist()
        scores = (generator.permutation(100)[: len(masks)] / 100).tolist()
        sets.append((np.array(masks), np.array(shaken), labels, scores))
    truth = [Objects.of_arrays(masks, labels) for masks, _, labels, _ in sets]
    found = [Objects.of_arrays(shaken, labels, scores) for _, shaken, labels, scores in sets]
    return sets, truth, found


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_the_slow_versions(seed):
    sets, truth, found = drawn(seed)
    ious = [mask_overlaps(shaken, masks) for masks, shaken, _, _ in sets]
    for iou, true, other in zip(ious, truth, found, strict=True):
        assert overlaps(other, true) == pytest.approx(iou)
    for number, threshold in enumerate(THRESHOLDS):
        by_image = [
            reference.image_average_precision(iou.tolist(), scores, threshold)
            for iou, (_, _, _, scores) in zip(ious, sets, strict=True)
        ]
        assert image_precision(truth, found)[number] == pytest.approx(np.mean(by_image))
        shares = [reference.found_share(iou.tolist(), iou.shape[1], threshold) for iou in ious]
        assert share_found(truth, found)[number] == pytest.approx(np.mean(shares))
    areas = []
    for label in sorted({label for image in truth for label in image.categories}):
        detections, objects = [], {}
        for image, (iou, (_, _, labels, scores)) in enumerate(zip(ious, sets, strict=True)):
            own = [row for row, other in enumerate(labels) if other == label]
            objects[image] = [False] * len(own)
            detections += [(scores[row], image, iou[row][own].tolist()) for row in own]
        areas.append(reference.voc_average_precision(detections, objects, 0.5))
    assert voc_precision(truth, found, 0.5) == pytest.approx(np.mean(areas))


def test_coco_precision_is_what_pycocotools_summarizes(capsys):
    sets, truth, found = drawn(0)
    precision = coco_precision(truth, found)
    assert capsys.readouterr().out == ""
    truths, results = [], []
    for image, (true, other) in enumerate(zip(truth, found, strict=True), start=1):
        for rows, to in ((true, truths), (other, results)):
            for mask, label, score in zip(rows.masks, rows.categories, rows.scores, strict=True):
                to.append({"image_id": image, "category_id": label, "segmentation": mask,
                           "score": score, "area": int(mask["size"][0]), "iscrowd": 0,
                           "id": len(to) + 1})  # fmt: skip
    coco = COCO()
    coco.dataset = {
        "images": [{"id": n + 1, "height": 20, "width": 20} for n in range(len(sets))],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": truths,
    }
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(results), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    mean = np.mean(list(precision.values()), axis=0)
    assert mean.mean() == pytest.approx(evaluation.stats[0])
    assert (mean[0], mean[5]) == pytest.approx((evaluation.stats[1], evaluation.stats[2]))


def test_crowds_need_not_be_found():
    mask = np.ones((1, 4, 4), bool)
    crowd = Objects.of_arrays(mask)
    crowd = Objects(crowd.masks, crowd.categories, crowd.scores, [True])
    nothing = Objects([], [], [], [])
    assert coco_precision([crowd], [nothing]) == {}
    for measure in (image_precision, share_found):
        assert np.isnan(measure([crowd], [nothing])).all()
        assert measure([crowd, Objects.of_arrays(mask)], [nothing, nothing]).tolist() == [0] * 10


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_shows_what_most_of_its_pixels_are_of(seed):
    generator = np.random.default_rng(seed)
    truth, found, right, shows, several = [], [], [], [], []
    for _ in range(4):
        owner = generator.integers(0, 4, (9, 11))  # true masks do not overlap; 0 is background
        true = [owner == number for number in (1, 2, 3)]
        classes = generator.integers(1, 3, 3).tolist()
        masks = list(generator.random((5, 9, 11)) < 0.1)
        names = generator.integers(0, 3, 5).tolist()
        truth.append(Objects.of_arrays(true, classes))
        found.append(Objects.of_arrays(masks, names))
        for mask, name in zip(masks, names, strict=True):
            shown = shown_class(mask, true, classes)
            right.append(name == shown)
            shows.append(shown > 0)
            several.append(len(set(classes)) > 1)
    right, shows, several = map(np.array, (right, shows, several))
    assert names_right(truth, found) == {
        "named": right.mean(),
        "named_several": right[shows & several].mean(),
        "noise_found": right[~shows].mean(),
    }
