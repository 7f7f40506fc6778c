"""What others may send to the page, or have put into a revision that was fetched from them."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.browse.app import HEADERS, create_app
from pipelines.graph.revisions import read_revision
from stages.engine.errors import InputError
from stages.io.tables import IMAGES as TABLE
from stages.io.tables import read_rows
from tests.pipelines.album import IMAGES, make_album
from tests.pipelines.made_repository import MadeRepository, parquet

SECRET = b"not for this page"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    repository, _ = make_album(tmp_path_factory.mktemp("album") / "repository")
    with client_of(repository.root) as made:
        yield made


def client_of(root: Path) -> TestClient:
    """Answers 500 like the server itself instead of raising."""
    app = create_app(root)
    return TestClient(app, base_url="http://127.0.0.1:8800", raise_server_exceptions=False)


def routes(client: TestClient) -> dict[str, list[str]]:
    """The query parameters of every address that is read."""
    return {
        route.path: [field.alias for field in route.dependant.query_params]
        for route in client.app.routes  # type: ignore[attr-defined]
        if isinstance(route, APIRoute) and route.path != "/states"  # asks DVC, and takes none
    }


KNOWN = st.sampled_from(
    [
        *("workspace", "HEAD", "HEAD~1", "HEAD^{tree}", "@{-1}", "--output=x", "HEAD:dvc.lock"),
        *("crf_refine/a2gnn", "crf_refine@a2gnn", "classifier_infer/maps", "graph_build/graphs"),
        *("dataset", "dataset/instances", "train", IMAGES[0], IMAGES[-1], "photo_99"),
        *("0", "1", "16", "4096", "-1", "9" * 400, "nan", "1e9", "true", ""),
        *("../../etc/passwd", "/etc/passwd", "data/train/curve.csv", "data/train/odd", "data"),
        *("\0", "a\0b", "%00", "\ud800", "a" * 5000, "\r\nX: y", "${x}", "<b>"),
    ]
)
JUNK = st.one_of(KNOWN, st.text(max_size=20), st.integers().map(str))


@settings(
    deadline=None,
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_query_is_an_error_of_the_server(client: TestClient, data: st.DataObject) -> None:
    known = routes(client)
    path = data.draw(st.sampled_from(sorted(known)))
    given_ones = data.draw(
        st.lists(st.sampled_from(known[path]), unique=True) if known[path] else st.just([])
    )
    query = {name: data.draw(JUNK, name) for name in given_ones}
    answer = client.get(f"{path}?{urlencode(query, errors='surrogatepass')}")
    assert answer.status_code < 500, (path, query)
    assert set(answer.headers.items()) >= SECURE


SECURE = {(name.decode(), content.decode()) for name, content in HEADERS}


@settings(
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.one_of(st.text(max_size=30), KNOWN), body=st.one_of(st.binary(max_size=40), KNOWN))
def test_no_path_and_no_body_is_an_error_of_the_server(
    client: TestClient, path: str, body: bytes | str
) -> None:
    named = urlencode({"": path}, errors="surrogatepass")[1:]
    for address in (f"/{named}", f"/static/{named}"):
        assert client.get(address).status_code < 500, address
    sent = body if isinstance(body, bytes) else json.dumps({"id": body, "mark": path}).encode()
    answer = client.post("/review/mark", content=sent, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500
    assert set(answer.headers.items()) >= SECURE


def test_a_fault_and_a_refusal_carry_the_headers_too(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(SECRET.decode())

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.browse.pages.graph_page", broken)
        fault = client.get("/")
    wanted = {"id": IMAGES[0], "mark": "bad"}
    refusal = client.post("/review/mark", json=wanted, headers={"Origin": "http://evil.example"})
    assert (fault.status_code, refusal.status_code) == (500, 403)
    assert SECRET.decode() not in fault.text
    for answer in (fault, refusal, client.get("/nothing"), client.get("/static/nothing")):
        assert set(answer.headers.items()) >= SECURE


def swap(root: Path, old: str, new: str) -> None:
    path = root / "dvc.lock"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@settings(
    deadline=None,
    max_examples=20,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    up=st.integers(0, 12),
    lead=st.sampled_from(["xx/", "aa", "", "/", "../"]),
    ending=st.sampled_from(["", ".dir", ".dir/", "\n"]),
)
def test_a_hash_that_is_a_path_is_refused(
    made: MadeRepository, secret: Path, up: int, lead: str, ending: str
) -> None:
    outs = read_revision(made.root, "HEAD").stages["train"].outs
    old = outs["data/train/curve.csv"]
    before = (made.root / "dvc.lock").read_text()
    try:
        swap(made.root, old, json.dumps(f"{lead}{'../' * up}{secret}{ending}"))
        with pytest.raises(InputError, match=r"dvc\.lock: train: .*: md5 .*; expected 32 hex"):
            read_revision(made.root)
    finally:
        (made.root / "dvc.lock").write_text(before)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeRepository:
    return make_album(tmp_path_factory.mktemp("album") / "repository")[0]


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("home") / "secret.csv"
    path.write_bytes(SECRET)
    return path


@pytest.mark.parametrize("lead", ["", "../", "data/../../", "./../"])
def test_no_file_outside_the_repository_is_an_output(
    tmp_path: Path, secret: Path, lead: str
) -> None:
    repository, _ = make_album(tmp_path / "repository")
    beside = tmp_path / "secret.csv"
    beside.write_bytes(SECRET)
    path = f"{lead}secret.csv" if lead else str(secret)
    if lead == "data/../../":
        (repository.root / "data").mkdir()
    md5 = read_revision(repository.root).stages["train"].outs["data/train/curve.csv"]
    swap(repository.root, md5, hashlib.md5(SECRET, usedforsecurity=False).hexdigest())
    swap(repository.root, "data/train/curve.csv", path)
    with client_of(repository.root) as client:
        answer = client.get("/file", params={"path": path})
    assert answer.status_code == 404
    assert SECRET not in answer.content


@pytest.mark.parametrize(
    "entry",
    [
        {"relpath": "plain.txt", "md5": "xx/{secret}"},
        {"relpath": "../../../{secret}", "md5": hashlib.md5(SECRET).hexdigest()},
        {"relpath": "{secret}", "md5": hashlib.md5(SECRET).hexdigest()},
        {"relpath": "plain.txt"},
        "plain.txt",
    ],
)
def test_a_list_of_files_that_names_others_counts_as_missing(
    tmp_path: Path, secret: Path, entry: dict[str, str] | str
) -> None:
    repository, _ = make_album(tmp_path / "repository")
    listing = json.dumps([entry]).replace("{secret}", str(secret))
    md5 = read_revision(repository.root).stages["train"].outs["data/train/odd"]
    swap(repository.root, md5, repository.keep(listing.encode(), ".dir"))
    with client_of(repository.root) as client:
        page = client.get("/stage?name=train")
        assert page.status_code == 200
        assert "dvc pull data/train/odd" in page.text
        for path in ("data/train/odd/plain.txt", f"data/train/odd/{secret}"):
            assert SECRET not in client.get("/file", params={"path": path}).content


def test_a_table_that_names_a_path_as_a_photographs_hash_shows_nothing(tmp_path: Path) -> None:
    repository, _ = make_album(tmp_path / "repository")
    outside = tmp_path / "outside.png"
    rows = read_rows_of(repository)
    outside.write_bytes(repository.path_of(rows[0]["md5"]).read_bytes())
    rows[0]["md5"] = f"xx/{outside}"
    table = parquet(pd.DataFrame(rows), TABLE)
    md5 = read_revision(repository.root).stages["dataset"].outs["data/dataset/images.parquet"]
    swap(repository.root, md5, repository.keep(table))
    with client_of(repository.root) as client:
        assert client.get("/photograph", params={"id": IMAGES[0]}).status_code == 404
        assert client.get("/photograph", params={"id": IMAGES[1]}).status_code == 200


def read_rows_of(repository: MadeRepository) -> list[dict[str, Any]]:
    md5 = read_revision(repository.root).stages["dataset"].outs["data/dataset/images.parquet"]
    return read_rows(repository.path_of(md5), TABLE)
