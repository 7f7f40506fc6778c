import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.backbones import cell_features
from models.cam import CamClassifier, ClassifierSpec
from models.ops.multiscale import stretched
from stages.classifier_infer import Params, classifier_infer
from stages.engine.command import parse_section, read_params_file
from stages.engine.errors import InputError
from stages.engine.memo import Memo
from stages.io.networks import save_network
from stages.io.score_maps import read_score_map
from stages.io.tables import TAGS, write_table
from tests.stages.drawn_discs import draw, write_discs

SPEC = ClassifierSpec("cam", "resnet38d", 0.05, 8, (1, 2))


def params(**changes: object) -> Params:
    section = {"scales": [1.0, 1.5], "flip": True, "output_stride": 8, "stride": 4} | changes
    found: Params = parse_section(Params, section, "params.yaml: classifier_infer")
    return found


def network() -> CamClassifier:
    """A random network whose two classes look at the channel that tells discs from the ground."""
    torch.manual_seed(0)
    built = SPEC.build().eval()
    image, labels = draw("one")
    with torch.no_grad():
        picture = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        features = cell_features(built.backbone, picture)[2][0]
        disc = torch.from_numpy(labels[4::8, 4::8] == 1)
        contrast = features[:, disc].mean(1) - features[:, ~disc].mean(1)
        best = contrast / features.amax((1, 2)).clamp(min=1e-6)
        built.head.weight[:] = 0
        built.head.weight[:, best.argmax()] = 1
    return built


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr("stages.engine.parallel.Memo", partial(Memo, folder=tmp_path / "memo"))
    monkeypatch.setenv("SEEDMASK_WORKERS", "1")
    found = write_discs(tmp_path)
    tags = pd.DataFrame({"image_id": ["one", "two", "two", "held"], "category": [1, 2, 1, 2]})
    write_table(tmp_path / "tags.parquet", tags, TAGS)
    save_network(tmp_path / "weights.pt", network(), SPEC)
    return {
        "data": found,
        "weights": tmp_path / "weights.pt",
        "out": tmp_path / "out",
    }


def test_each_training_image_gets_maps_of_its_tagged_classes(paths: dict[str, Any]) -> None:
    classifier_infer(params(), **paths)
    maps = paths["out"] / "maps"
    assert sorted(file.name for file in maps.iterdir()) == ["empty.npz", "one.npz", "two.npz"]
    expected: dict[str, list[int]] = {"empty": [], "one": [1], "two": [1, 2]}
    for name, classes in expected.items():
        found = read_score_map(maps / f"{name}.npz")
        assert found.classes.tolist() == classes
        assert found.scores.shape == (len(classes), 10, 12)
        assert (found.size, found.stride) == ((40, 48), 4)
        assert ((found.scores >= 0) & (found.scores <= 1)).all()
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    counts = {"images": 3, "images_without_tags": 1, "maps": 3}
    assert {key: metrics[key] for key in counts} == counts


def test_the_maps_follow_what_is_in_the_picture(paths: dict[str, Any]) -> None:
    classifier_infer(params(stride=1), **paths)
    found = read_score_map(paths["out"] / "maps/one.npz").scores[0].astype(float)
    disc = draw("one")[1] == 1
    inside, outside = found[disc].mean(), found[~disc].mean()
    assert inside - outside > 0.2
    mirrored = np.abs(found[:, 1:] - found[:, :0:-1]).mean()  # the disc is centred on column 24
    assert mirrored < 0.1


def test_a_seam_classifier_gives_its_refined_maps_stretched(paths: dict[str, Any]) -> None:
    torch.manual_seed(0)
    spec = replace(SPEC, method="seam")
    built = spec.build().eval()
    save_network(paths["weights"], built, spec)
    classifier_infer(params(scales=[1.0], flip=False, stride=8), **paths)
    found = read_score_map(paths["out"] / "maps/two.npz").scores
    picture = torch.from_numpy(draw("two")[0]).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = stretched(built.class_maps(picture))[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)
    assert found.min() == 0


def test_what_was_computed_once_is_not_computed_again(
    paths: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier_infer(params(), **paths)
    monkeypatch.setattr("stages.classifier_infer.multiscale_cams", None)
    again = paths["out"].with_name("again")
    classifier_infer(params(), **paths | {"out": again})
    for file in (again / "maps").iterdir():
        assert file.read_bytes() == (paths["out"] / "maps" / file.name).read_bytes()
    with pytest.raises(TypeError, match="not callable"):
        classifier_infer(params(stride=2), **paths)


def test_a_tag_that_the_classifier_does_not_know_is_named(paths: dict[str, Any]) -> None:
    write_table(
        paths["data"].table("tags"), pd.DataFrame({"image_id": ["one"], "category": [7]}), TAGS
    )
    message = r"tags\.parquet: image one: category 7 is none of the classifier's \(1, 2\)"
    with pytest.raises(InputError, match=message):
        classifier_infer(params(), **paths)


def test_weights_that_do_not_fit_their_json_are_named(paths: dict[str, Any]) -> None:
    beside = paths["weights"].with_suffix(".json")
    content = json.loads(beside.read_text())
    beside.write_text(json.dumps(content | {"width": 0.1}))
    paths["weights"] = paths["weights"].rename(paths["weights"].with_name("other.pt"))
    beside.rename(beside.with_name("other.json"))
    with pytest.raises(InputError, match=r"other\.pt: does not fit the network of its \.json"):
        classifier_infer(params(), **paths)


@pytest.mark.parametrize("changes", [{"scales": []}, {"scales": [0]}, {"stride": 0}, {"flop": 1}])
def test_bad_numbers_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: classifier_infer"):
        params(**changes)


def test_params_yaml_holds_a_valid_section() -> None:
    section = read_params_file(Path("params.yaml"))["classifier_infer"]
    assert parse_section(Params, section, "params.yaml: classifier_infer")
