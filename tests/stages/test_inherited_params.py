"""Numbers that a method describes: a stage's section takes them over, ranges and all."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from models.a2gnn.network import Settings
from models.fit import Schedule
from models.ops.crf import Kernels
from models.wsid.fusion import Fusion
from models.wsid.network import Branches
from stages.engine.command import parse_section, part_of, read_params_file
from stages.engine.errors import InputError

SECTIONS = read_params_file(Path(__file__).parents[2] / "params.yaml")


@pytest.mark.parametrize(
    ("stage", "method", "key", "wrong"),
    [
        ("crf_refine", Kernels, "iterations", -1),
        ("crf_refine", Kernels, "bilateral_rgb", 0),
        ("a2gnn_label", Settings, "dropout", 1),
        ("a2gnn_label", Settings, "points", "both"),
        ("classifier_train", Schedule, "momentum", 1),
        ("classifier_train", Schedule, "jitter", [0.1, 0.1, 0.1, 0.6]),
        ("affinity_train", Schedule, "epochs", 0),
        ("deeplab_train", Schedule, "batch", 1),
        ("wsid_train", Branches, "mutual", "cascade"),
        ("wsid_train", Fusion, "least_share", 1.5),
    ],
)
def test_a_section_has_the_numbers_of_its_method_and_keeps_their_ranges(
    stage: str, method: type, key: str, wrong: object
) -> None:
    params_type = import_module(f"stages.{stage}").Params
    assert isinstance(parse_section(params_type, SECTIONS[stage], stage), method)
    with pytest.raises(InputError, match=f"{stage}.{key}"):
        parse_section(params_type, SECTIONS[stage] | {key: wrong}, stage)
    with pytest.raises(InputError, match="unknown key"):
        parse_section(params_type, SECTIONS[stage] | {"no_such_key": 1}, stage)
    short = {name: value for name, value in SECTIONS[stage].items() if name != key}
    with pytest.raises(InputError, match=f"{stage}.{key}: missing"):
        parse_section(params_type, short, stage)


def test_what_a_section_has_inherited_is_taken_out_of_it() -> None:
    section = SECTIONS["crf_refine"]
    params = parse_section(import_module("stages.crf_refine").Params, section, "crf_refine")
    names = [field.name for field in fields(Kernels)]
    assert part_of(Kernels, params) == Kernels(**{name: section[name] for name in names})
