from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from pipelines.browse.app import create_app
from pipelines.browse.states import MEANINGS, activity, standings
from pipelines.graph.journal import last_failure
from pipelines.graph.plan import State
from stages.engine.progress import announced
from tests.pipelines.made_repository import MadeRepository
from tests.pipelines.mini_repository import MiniRepository


def states_of(mini: MiniRepository) -> dict[str, str]:
    return {found.name: found.state for found in standings(mini.root)}


def test_a_stage_that_failed_says_so_until_it_is_made(mini: MiniRepository) -> None:
    mini.set("left", "fail", "true")
    assert mini.run("run", "--local")[0] == 1
    assert states_of(mini) == {
        "first": "unchanged", "left": "failed", "right": "unchanged", "last": "must run"
    }  # fmt: skip
    failure = last_failure(mini.root, "left")
    assert failure is not None
    assert failure.reason == "exit code 255"
    assert any("left was told to fail" in line for line in failure.tail)
    with TestClient(create_app(mini.root), base_url="http://localhost") as client:
        page = client.get("/stage?name=left").text
        assert "has not made anything here yet" in page
        assert "left was told to fail" in page
        assert client.get("/").text.count('data-stage="') == 4, "also what was never made"
    mini.set("left", "fail", "false")
    assert mini.run("run", "--local")[0] == 0
    assert set(states_of(mini).values()) == {"unchanged"}
    assert last_failure(mini.root, "left") is None


def test_a_stage_that_was_stopped_has_not_failed(mini: MiniRepository) -> None:
    mini.set("first", "seconds", 60)
    process = mini.start("run", "--local")
    assert process.stdout is not None
    while "first starts" not in process.stdout.readline():
        pass
    assert "first" in activity(mini.root)["running"]  # type: ignore[operator]
    process.terminate()
    process.communicate(timeout=60)
    assert last_failure(mini.root, "first") is None
    assert states_of(mini)["first"] == "must run"


def test_what_runs_is_told_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").write_text("")
    before = activity(tmp_path)
    assert before["running"] == {}
    with announced("crf_refine"):
        assert activity(tmp_path)["running"] == {"crf_refine": "running"}
    assert activity(tmp_path) == before
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\n")
    assert activity(tmp_path)["recorded"] != before["recorded"]


def test_every_state_has_a_meaning() -> None:
    assert set(State) < set(MEANINGS)


def test_the_first_run_of_all_can_be_watched(tmp_path: Path) -> None:
    repository = MadeRepository(tmp_path / "new")
    (repository.root / "dvc.yaml").write_text(
        "stages:\n  one: {cmd: 'true', outs: [a]}\n  two: {cmd: 'true', deps: [a], outs: [b]}\n"
    )
    with TestClient(create_app(repository.root), base_url="http://localhost") as client:
        answer = client.get("/")
        assert answer.status_code == 200
        assert 'data-from="one" data-to="two"' in answer.text
        assert client.get("/stage?name=two").status_code == 200
        assert client.get("/stage?name=three").status_code == 404
        (repository.root / "dvc.lock").write_text("stages: {one: {cmd: x, outs: [{path: ../a}]}}\n")
        broken = client.get("/")
        assert broken.status_code == 404
        assert "out &#39;../a&#39;; expected a path inside the repository" in broken.text
