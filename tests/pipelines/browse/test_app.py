import html
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pipelines.browse.app import create_app
from pipelines.graph.objects import Objects
from pipelines.graph.revisions import read_revision
from pipelines.look.layers import Catalogue
from pipelines.review.marks import Marks
from stages.io.pictures import label_layer
from tests.pipelines.album import HOSTILE, IMAGES, NAMES, labels_of, make_album
from tests.pipelines.made_repository import MadeRepository

Album = tuple[MadeRepository, list[str]]
LAYER = "crf_refine/a2gnn"


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    return make_album(tmp_path_factory.mktemp("album") / "repository")


@pytest.fixture
def own_album(tmp_path: Path) -> Album:
    return make_album(tmp_path / "repository")


def client_of(album: Album) -> TestClient:
    return TestClient(create_app(album[0].root), base_url="http://127.0.0.1:8800")


@pytest.fixture
def client(album: Album) -> Iterator[TestClient]:
    with client_of(album) as made:
        yield made


def pixels(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/?rev=HEAD~1",
        "/stage?name=dataset",
        "/stage?name=scenes",
        "/stage?name=classifier_infer",
        "/stage?name=crf_refine@a2gnn&page=2",
        "/stage?name=train&rev=HEAD~1",
        "/stage?name=labels_eval@a2gnn_crf",
        f"/image?id={IMAGES[0]}",
        f"/image?id={IMAGES[-1]}&rev=HEAD~1",
        "/compare",
        "/compare?first=HEAD&second=HEAD~1",
        "/review",
    ],
)
def test_every_page_is_there(client: TestClient, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 200
    assert "</html>" in answer.text


@pytest.mark.parametrize(
    "address",
    [
        "/stage?name=nothing",
        "/stage?name=../dataset",
        "/stage?name=scenes&layer=nothing",
        "/stage?name=scenes&rev=nothing",
        "/stage?name=scenes&rev=--output=x",
        "/image?id=nothing",
        "/image?id=../../etc/passwd",
        f"/photograph?id={IMAGES[0]}&rev=nothing",
        "/photograph?id=..%2F..%2Fetc%2Fpasswd",
        f"/layer?name=nothing&id={IMAGES[0]}",
        f"/layer?name=../../../etc&id={IMAGES[0]}",
        f"/layer?name=classifier_infer/maps&id={IMAGES[1]}",
        "/file?path=params.yaml",
        "/file?path=/etc/passwd",
        "/file?path=data/train/odd/../../../params.yaml",
        "/file?path=data/train/odd",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/data/train/curve.csv",
        "/.git/config",
    ],
)
def test_what_no_output_is_is_not_found(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


def test_a_known_mask_is_shown_pixel_for_pixel(album: Album, client: TestClient) -> None:
    root = album[0].root
    colours = Catalogue(Objects(root), read_revision(root)).colours
    for number in (0, 5):
        for rev, revision in (("workspace", 1), ("HEAD~1", 0)):
            query = {"name": LAYER, "id": IMAGES[number], "rev": rev}
            shown = pixels(client.get("/layer", params=query).content)
            expected = label_layer(labels_of(number, revision), colours)
            np.testing.assert_array_equal(shown, expected)


def test_a_picture_that_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    query = {"name": LAYER, "id": IMAGES[0], "side": 16}
    first = client.get("/layer", params=query)
    again = client.get("/layer", params=query, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    other = client.get("/layer", params=query | {"side": 32})
    assert other.headers["etag"] != first.headers["etag"]


def test_the_addresses_of_a_grid_change_with_the_bytes(client: TestClient) -> None:
    old = client.get("/stage?name=crf_refine@a2gnn&rev=HEAD~1").text
    assert "immutable" in client.get(f"/photograph?id={IMAGES[0]}&v=1").headers["cache-control"]
    assert old.count('class="over"') == 60
    assert "page 1 of 2" in old


def test_an_image_in_a_table_is_a_click_away(client: TestClient) -> None:
    page = client.get("/stage?name=dataset").text
    found = re.search(rf'<td><a href="([^"]*)">{IMAGES[0]}</a></td>', page)
    assert found is not None
    assert client.get(html.unescape(found[1])).status_code == 200


def test_a_graph_shows_the_affinities_of_the_pixel_asked_for(client: TestClient) -> None:
    query = {"name": "graph_build/graphs", "id": IMAGES[0]}
    mean = pixels(client.get("/layer", params=query).content)
    assert mean.shape == (24, 32, 4)
    picked = pixels(client.get("/layer", params=query | {"x": 9, "y": 17}).content)
    seen = picked[4::8, 4::8, 3] > 0
    expected = np.zeros((3, 4), dtype=bool)
    expected[2, 1:3] = True
    np.testing.assert_array_equal(seen, expected)
    assert picked[20, 12].sum() > picked[20, 20].sum(), "its own affinity is 1, the other's 0.5"


def test_the_differences_are_those_of_the_label_maps(client: TestClient, album: Album) -> None:
    first, second = album[1]
    query = {"layer": LAYER, "first": first, "second": second}
    text = client.get("/compare/scores", params=query).text
    rows = {row["image_id"]: row for row in map(json.loads, text.splitlines())}
    assert sorted(rows) == [
        image_id
        for number, image_id in enumerate(IMAGES)
        if (labels_of(number, 0) != labels_of(number, 1)).any()
    ]
    for number in (1, 33):
        before, after = labels_of(number, 0), labels_of(number, 1)
        row = rows[IMAGES[number]]
        assert row["pixels"] == (before != after).sum()
        assert row["gain"] == row["second"] - row["first"] < 0
        shown = pixels(client.get("/difference", params=query | {"id": IMAGES[number]}).content)
        np.testing.assert_array_equal(shown[..., 3] > 0, before != after)


def test_compare_names_the_parameter_and_the_number_that_changed(client: TestClient) -> None:
    text = client.get("/compare?first=HEAD~1&second=HEAD").text
    assert "crf_refine.iterations" in text
    assert "crf_refine.xy" not in text
    assert "80.5" in text
    assert "79.5" in text


def test_hostile_names_are_text(client: TestClient) -> None:
    for address in ("/stage?name=train", f"/image?id={IMAGES[0]}", "/", "/review"):
        text = client.get(address).text
        assert "<script>document" not in text
        assert "<b>cat" not in text
        assert "labels <1>" not in text
    assert "&lt;script&gt;document" in client.get("/stage?name=train").text
    echoed = client.get("/stage", params={"name": "<script>alert(1)</script>"})
    assert "<script>alert" not in echoed.text
    path = f"data/train/odd/{HOSTILE}"
    answer = client.get("/file", params={"path": path})
    assert answer.content == b"odd"
    assert answer.headers["content-disposition"] == "attachment"


def test_only_this_machine_by_its_own_names_is_answered(client: TestClient) -> None:
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8800"}).status_code == 200
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")


def test_marks_are_kept_and_taken_back(own_album: Album) -> None:
    marks = Marks(own_album[0].root)
    with client_of(own_album) as client:
        wanted = {"id": IMAGES[3], "mark": "to-correct"}
        assert client.post("/review/mark", json=wanted).status_code == 200
        assert marks.read()[IMAGES[3]].verdict == "to-correct"
        assert f"{IMAGES[3]},to-correct" in client.get("/review.csv").text
        assert "to-correct" in client.get("/review").text
        client.post("/review/mark", json=wanted | {"mark": None})
        assert marks.read() == {}


def test_no_other_site_and_no_link_can_set_a_mark(own_album: Album) -> None:
    wanted = {"id": IMAGES[3], "mark": "bad"}
    with client_of(own_album) as client:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert client.post("/review/mark", json=wanted, headers=headers).status_code == 403
        assert client.get("/review/mark", params=wanted).status_code in (404, 405)
        assert client.post("/review/mark", json={"id": "nothing", "mark": "bad"}).status_code == 404
        assert client.post("/review/mark", json={"id": IMAGES[3], "mark": "x"}).status_code == 422
    assert Marks(own_album[0].root).read() == {}


def test_a_missing_object_is_named_with_the_command_that_brings_it(own_album: Album) -> None:
    repository, _ = own_album
    place = next(
        path
        for path in (repository.root / ".dvc/cache/files/md5").rglob("*")
        if path.is_file() and is_mask(path, 4)
    )
    place.unlink()
    with client_of(own_album) as client:
        grid = client.get("/stage?name=crf_refine@a2gnn")
        assert grid.status_code == 200
        assert "1 of the 60 files of this page are missing" in grid.text
        assert "dvc pull crf_refine@a2gnn" in grid.text
        query = {"name": LAYER, "id": IMAGES[4]}
        assert client.get("/layer", params=query).status_code == 404
        page = client.get(f"/image?id={IMAGES[4]}")
        assert page.status_code == 200
        assert f"dvc pull data/{LAYER}/{IMAGES[4]}.png" in page.text


def is_mask(path: Path, number: int) -> bool:
    try:
        return bool((pixels(path.read_bytes()) == labels_of(number, 1)).all())
    except (OSError, ValueError):
        return False


def test_a_missing_folder_or_table_is_no_error_page(own_album: Album) -> None:
    repository, _ = own_album
    stages = read_revision(repository.root).stages
    repository.path_of(stages["crf_refine@a2gnn"].outs["data/crf_refine/a2gnn"]).unlink()
    repository.path_of(stages["dataset"].outs["data/dataset/images.parquet"]).unlink()
    with client_of(own_album) as client:
        answer = client.get("/stage?name=crf_refine@a2gnn")
        assert answer.status_code == 200
        assert "dvc pull" in answer.text
        assert client.get("/").status_code == 200
        assert "dvc pull" in client.get(f"/image?id={IMAGES[0]}").text


def test_a_new_dvc_lock_is_seen_without_a_restart(own_album: Album) -> None:
    repository, commits = own_album
    with client_of(own_album) as client:
        before = client.get("/layer", params={"name": LAYER, "id": IMAGES[1]}).content
        repository.git("checkout", "-q", commits[0])
        after = client.get("/layer", params={"name": LAYER, "id": IMAGES[1]}).content
    assert before != after


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    repository = MadeRepository(tmp_path / "new")
    with TestClient(create_app(repository.root), base_url="http://localhost") as client:
        answer = client.get("/")
    assert answer.status_code == 404
    assert "./seedmask run" in answer.text


def test_looking_writes_nothing_below_data_and_checks_nothing_out(
    album: Album, client: TestClient
) -> None:
    for address in ("/", "/stage?name=crf_refine@a2gnn&rev=HEAD~1", f"/image?id={IMAGES[0]}"):
        client.get(address)
    root = album[0].root
    assert not (root / "data").exists()
    assert album[0].git("status", "--porcelain") == ""


def test_the_review_has_the_boxes_and_how_far_each_is_filled(own_album: Album) -> None:
    root = own_album[0].root
    catalogue = Catalogue(Objects(root), read_revision(root))
    with client_of(own_album) as client:
        text = client.get("/review/doubts").text
    rows = {row["image_id"]: row for row in map(json.loads, text.splitlines())}
    assert sorted(rows) == IMAGES
    for number in (0, 1, 8):
        row = rows[IMAGES[number]]
        (box,) = row["boxes"]
        assert row["size"] == [32, 24]
        assert (box["name"], box["corners"]) == (NAMES[0], [3.0, 4.0, 14.0, 15.0])
        assert box["colour"] == "#{:02x}{:02x}{:02x}".format(*catalogue.colours[1])
        inside = labels_of(number, 1)[4:15, 3:14] == 1
        places = np.argwhere(inside)
        filled = np.prod(np.ptp(places, axis=0) + 1) / inside.size if len(places) else 0
        assert box["unfilled"] == row["unfilled"] == pytest.approx(100 * (1 - filled))
