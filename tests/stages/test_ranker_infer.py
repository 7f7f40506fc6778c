import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from models.detection import Detection, DetectorSizes
from models.irsr.branch import Ranking
from models.irsr.network import RankingSpec
from stages.engine.errors import InputError
from stages.io.label_maps import decode_rle, encode_rle
from stages.io.networks import read_network, save_network
from stages.io.tables import INSTANCES, read_rows, write_table
from stages.ranker_infer import Params, ranked_rows, ranker_infer, ranks_of
from tests.stages.drawn_objects import SIZE, mask_of, write_objects

RANKING = Ranking("paper", "graphs", ("relation", "local"), 2, 2, False, "pairs", 1.0, 8)
SPEC = RankingSpec("mobilenet_v2", 1.0, (32, 64), DetectorSizes(16, 8, 16, 20, 8, 4, 0.5), RANKING)
BOXES = ((6, 6, 28, 28), (1, 1, 40, 9), (20, 12, 44, 39))


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    data = write_objects(tmp_path, monkeypatch, "ranker_infer")
    torch.manual_seed(0)
    weights = tmp_path / "network/weights.pt"
    save_network(weights, SPEC.build(), SPEC)
    rows = [
        {"image_id": image_id, "instance_id": 40 + number, "category": 2, "x0": box[0],
         "y0": box[1], "x1": box[2], "y1": box[3], "area": float(mask_of(box).sum()),
         "is_crowd": False, "mask": encode_rle(mask_of(box)), "score": 0.1, "rank": 1}
        for number, (image_id, box) in enumerate([("a", BOXES[0]), *(("v", b) for b in BOXES)])
    ]  # fmt: skip
    write_table(tmp_path / "given.parquet", pd.DataFrame(rows), INSTANCES)
    return {"data": data, "split": "val", "weights": weights, "out": tmp_path / "out"}


def found(folder: Path, name: str = "instances") -> list[dict[str, Any]]:
    return read_rows(folder / f"{name}.parquet", INSTANCES)


def test_what_is_found_has_ranks_from_one_and_lies_in_its_image(paths: dict[str, Any]) -> None:
    ranker_infer(Params(least_score=0.0), **paths)
    rows = found(paths["out"])
    assert {row["image_id"] for row in rows} == {"v"}
    assert sorted(row["rank"] for row in rows) == list(range(1, len(rows) + 1))
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    assert all(decode_rle(row["mask"], *SIZE).any() for row in rows)
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics == {"images": 1, "instances": len(rows)}
    assert not (paths["out"] / "given.parquet").exists()
    ranker_infer(Params(least_score=1.0), **paths)
    assert found(paths["out"]) == []


def test_given_instances_are_ranked_as_they_are(paths: dict[str, Any]) -> None:
    given = paths["data"].folder / "given.parquet"
    ranker_infer(Params(least_score=0.0), **paths, instances=given)
    rows, asked = found(paths["out"], "given"), found(given.parent, "given")[1:]
    network = read_network(paths["weights"], SPEC)
    (picture,) = (image.read() for image in paths["data"].images("val"))
    image = torch.from_numpy(picture).permute(2, 0, 1) / 255
    saliency = network.saliency(image, torch.tensor(BOXES, dtype=torch.float32))
    assert [row["rank"] for row in rows] == ranks_of(saliency)
    assert [row | {"rank": 1, "score": asked[0]["score"]} for row in rows] == asked
    assert {row["score"] for row in rows} == {1.0}
    metrics = json.loads((paths["out"] / "metrics.json").read_text())
    assert metrics["given"] == 3


def test_neither_ranks_nor_scores_of_the_given_are_looked_at(paths: dict[str, Any]) -> None:
    given = paths["data"].folder / "given.parquet"
    ranker_infer(Params(least_score=0.5), **paths, instances=given)
    before = (paths["out"] / "given.parquet").read_bytes()
    frame = pd.read_parquet(given).assign(rank=[3, 2, 1, 3], score=[0.5, 0.2, 0.3, 0.9])
    write_table(given, frame, INSTANCES)
    ranker_infer(Params(least_score=0.5), **paths, instances=given)
    assert (paths["out"] / "given.parquet").read_bytes() == before


def test_the_most_salient_is_first_and_equals_keep_their_order() -> None:
    assert ranks_of(torch.tensor([0.5, 2.0, -1.0, 2.0])) == [3, 1, 4, 2]
    assert ranks_of(torch.zeros(0)) == []


def test_what_has_no_pixel_takes_no_rank() -> None:
    masks = torch.zeros(3, *SIZE)
    masks[0, 3:9, 3:9] = masks[2, 20:30, 20:30] = 0.9
    boxes = torch.tensor([[3.0, 3, 9, 9], [12, 12, 14, 14], [20, 20, 30, 30]])
    one = Detection(boxes, torch.ones(3, dtype=torch.int64), torch.tensor([0.9, 0.8, 0.7]), masks)
    rows = ranked_rows("v", one, torch.tensor([1.0, 3.0, 2.0]))
    assert [(row["x0"], row["rank"]) for row in rows] == [(3.0, 2), (20.0, 1)]


def test_a_table_that_is_not_there_and_a_network_of_another_kind_are_named(
    paths: dict[str, Any],
) -> None:
    with pytest.raises(InputError, match=r"nothing\.parquet: no such table"):
        ranker_infer(Params(least_score=0.5), **paths, instances=Path("nothing.parquet"))
    beside = paths["weights"].with_suffix(".json")
    beside.write_text(beside.read_text().replace("graphs", "trees"))
    with pytest.raises(InputError, match=r"weights\.json: ranking\.reasoning: .*'trees'"):
        ranker_infer(Params(least_score=0.5), **paths)
