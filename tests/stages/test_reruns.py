"""Reruns of the stages that treat images one by one: what they compute, and what they leave."""

import shutil
from pathlib import Path

import pytest

from tests.stages.drawn_line import STAGES, DrawnLine, Run, kept

COUNT = 4


def each(images: int) -> dict[str, int]:
    return dict.fromkeys(STAGES, images)


def test_only_what_changed_is_computed(tmp_path: Path) -> None:
    line, memo = DrawnLine(tmp_path, COUNT), tmp_path / "memo"
    first, second, *_, last = line.images.names
    assert line.run(memo).computed == each(COUNT)
    line.images.mirror(second)
    assert line.run(memo).computed == each(1)
    line.images.narrow(second)
    blind = {"classifier_infer": 0, "graph_build": 0}  # to boxes
    assert line.run(memo).computed == each(1) | blind
    line.images.remove(first)
    assert line.run(memo).computed == each(0)
    line.images.add(last)
    assert line.run(memo).computed == each(1)
    line.images.add(first)
    assert line.run(memo).computed == each(0)
    other = {"iterations": 1}
    assert line.run(memo, crf_refine=other).computed == each(0) | {"crf_refine": COUNT + 1}
    assert line.run(memo).computed == each(0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Cold runs and runs with what those kept; half of that is gone once an image has changed."""
    root = tmp_path_factory.mktemp("line")
    line, memo = DrawnLine(root, COUNT), root / "memo"
    found = {"cold": line.run(memo), "full": line.run(memo)}
    for entries in kept(memo).values():
        for path in sorted(entries)[::2]:
            path.unlink()
    line.images.mirror(line.images.names[1])
    line.images.narrow(line.images.names[1])
    found["half"] = line.run(memo)
    shutil.rmtree(memo)
    found["changed"] = line.run(memo)
    return found


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_with_all_kept_leaves_what_the_cold_one_left(
    runs: dict[str, Run], stage: str
) -> None:
    assert runs["cold"].computed[stage] == COUNT
    assert runs["full"].computed[stage] == 0
    assert len(runs["cold"].files[stage]) >= COUNT
    assert runs["full"].files[stage] == runs["cold"].files[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_with_half_kept_and_another_image_leaves_what_a_cold_one_leaves(
    runs: dict[str, Run], stage: str
) -> None:
    assert runs["half"].computed[stage] in (COUNT // 2, COUNT // 2 + 1)
    assert runs["changed"].computed[stage] == COUNT
    assert runs["changed"].files[stage] != runs["cold"].files[stage]
    assert runs["half"].files[stage] == runs["changed"].files[stage]
