from pathlib import Path

import numpy as np
import pytest

from stages.engine.errors import InputError
from stages.io.score_maps import ScoreMap, encode_score_map, read_score_map


def score_map(height: int = 9, width: int = 14, stride: int = 4) -> ScoreMap:
    shape = (2, -(-height // stride), -(-width // stride))
    scores = np.random.default_rng(0).random(shape).astype(np.float16)
    return ScoreMap(scores, np.array([0, 7]), (height, width), stride)


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_score_maps_round_trip(tmp_path: Path, stride: int) -> None:
    given = score_map(stride=stride)
    (tmp_path / "a.npz").write_bytes(encode_score_map(given))
    found = read_score_map(tmp_path / "a.npz")
    np.testing.assert_array_equal(found.scores, given.scores)
    np.testing.assert_array_equal(found.classes, given.classes)
    assert found.scores.dtype == np.float16
    assert (found.size, found.stride) == ((9, 14), stride)


def test_the_same_map_gives_the_same_bytes() -> None:
    assert encode_score_map(score_map()) == encode_score_map(score_map())


def test_a_grid_that_does_not_cover_the_image_is_refused() -> None:
    scores = np.zeros((1, 3, 4), dtype=np.float16)
    with pytest.raises(ValueError, match=r"scores: expected shape \(1, 2, 4\), got \(1, 3, 4\)"):
        ScoreMap(scores, np.array([1]), (8, 16), 4)


def test_unreadable_maps_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"a\.npz: no such score map"):
        read_score_map(path)
    for content in (b"?", encode_score_map(score_map())[:60], b""):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.npz: not a score map"):
            read_score_map(path)
    np.savez(path, scores=np.zeros((1, 1, 1)))
    with pytest.raises(InputError, match=r"a\.npz: not a score map: .*size"):
        read_score_map(path)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, size=np.array([8, 8], dtype=object), scores=0, classes=0, stride=4)
    with pytest.raises(InputError, match="not a score map"):
        read_score_map(path)
