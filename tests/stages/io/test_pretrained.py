import errno
from pathlib import Path

import pytest
import torch

from stages.engine.errors import InputError
from stages.io import pretrained
from stages.io.pretrained import initial_weights, lacking_weights


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pretrained.WEIGHTS_FOLDER.mkdir(parents=True)
    return pretrained.WEIGHTS_FOLDER


def test_weights_come_by_the_name_of_their_file(folder: Path) -> None:
    torch.save({"a": torch.ones(1)}, folder / "mine.pth")
    assert initial_weights("none", "resnet18") is None
    found = initial_weights("mine.pth", "resnet18")
    assert found is not None
    assert found.keys() == {"a"}
    assert lacking_weights("mine.pth", "resnet18") == ""


def test_a_missing_file_is_named_with_its_place_and_what_torchvision_has(folder: Path) -> None:
    text = (
        "weights: data/raw/weights/imagenet.pth is missing; put the file there, "
        "or name 'MobileNet_V2_Weights.IMAGENET1K_V1', which torchvision downloads"
    )
    assert lacking_weights("imagenet.pth", "mobilenet_v2") == text
    with pytest.raises(InputError, match="put the file there"):
        initial_weights("imagenet.pth", "mobilenet_v2")


def test_of_a_backbone_that_torchvision_has_not_only_the_place_is_said(folder: Path) -> None:
    text = "weights: data/raw/weights/x.pth is missing; put the file there"
    assert lacking_weights("x.pth", "resnet38d") == text


@pytest.mark.parametrize("name", ["ResNet18_Weights.IMAGENET1K_V9", "No_Such_Weights.A"])
def test_an_enum_value_that_torchvision_has_not_is_refused_without_a_download(name: str) -> None:
    text = lacking_weights(name, "resnet18")
    assert "not a torchvision enum value" in text
    assert text.endswith("resnet18 has ResNet18_Weights.IMAGENET1K_V1")


def test_a_file_elsewhere_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="must be a file name inside data/raw/weights"):
        initial_weights("../mine.pth", "resnet18")


def test_a_file_of_something_else_is_one_line_that_names_the_key(folder: Path) -> None:
    (folder / "page.pth").write_text("<html>")
    with pytest.raises(InputError, match=r"^weights: data/raw/weights/page\.pth: not a state_dict"):
        initial_weights("page.pth", "resnet18")


def test_a_download_that_fails_says_where_the_file_may_be_put(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    with pytest.raises(InputError, match=r"could not be downloaded.*data/raw/weights"):
        initial_weights("ResNet18_Weights.IMAGENET1K_V1", "resnet18")
