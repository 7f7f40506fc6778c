import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.graph.plan import Plan, State, Step, explain, make_plan
from pipelines.graph.result import Ending, Result
from pipelines.run.runner import run_local
from pipelines.run.schedule import Limits
from pipelines.run.summary import final_outs
from stages.engine.errors import InputError
from tests.pipelines.mini_repository import HERE, MiniRepository


def states(plan: Plan) -> dict[str, State]:
    return {step.name: step.state for step in plan.steps}


def test_a_new_workspace_must_run_everything(mini: MiniRepository) -> None:
    plan = make_plan(mini.root)
    assert states(plan) == dict.fromkeys(mini.graph, State.MUST_RUN)
    assert {step.reason for step in plan.steps} == {"never run"}
    assert plan.by_name["last"].upstream == ("left",)


def test_a_target_brings_what_it_depends_on_and_no_more(mini: MiniRepository) -> None:
    assert list(states(make_plan(mini.root, ["last"]))) == ["first", "left", "last"]


def test_an_unknown_target_is_refused_with_a_suggestion(mini: MiniRepository) -> None:
    with pytest.raises(InputError, match=r"no stage 'lats'; did you mean 'last'\?"):
        make_plan(mini.root, ["lats"])


def test_after_a_run_all_is_unchanged_and_a_changed_number_reaches_what_is_below(
    made: MiniRepository,
) -> None:
    assert not make_plan(made.root).pending
    made.set("left", "value", 2)
    plan = make_plan(made.root)
    assert states(plan) == {
        "first": State.UNCHANGED,
        "left": State.MUST_RUN,
        "right": State.UNCHANGED,
        "last": State.WAITING,
    }
    assert plan.by_name["left"].reason == "left modified"
    assert plan.by_name["last"].reason == "after left"


def test_what_was_made_before_is_restorable_with_all_below_it(made: MiniRepository) -> None:
    made.set("first", "value", 2)
    assert made.run("run", "--local")[0] == 0
    made.set("first", "value", 1)
    plan = make_plan(made.root)
    assert states(plan) == dict.fromkeys(made.graph, State.RESTORABLE)
    made.set("left", "value", 3)
    assert states(make_plan(made.root)) == {
        "first": State.RESTORABLE,
        "left": State.MUST_RUN,
        "right": State.RESTORABLE,
        "last": State.WAITING,
    }
    code, text = made.run("run", "--local")
    assert code == 0
    assert "[right] Restored" in text
    assert "[left] Completed" in text


def test_a_changed_source_file_must_run_until_it_is_changed_back(mini: MiniRepository) -> None:
    path = mini.root / "dvc.yaml"
    path.write_text(
        path.read_text().replace(
            "[data/first.txt]\n    params: [left]",
            "[data/first.txt, brought.txt]\n    params: [left]",
        )
    )
    brought = mini.root / "brought.txt"
    for text in ("one", "two"):
        brought.write_text(text)
        assert mini.run("run", "left", "--local")[0] == 0
    brought.write_text("three")
    assert states(make_plan(mini.root))["left"] is State.MUST_RUN
    brought.write_text("one")
    assert states(make_plan(mini.root))["left"] is State.RESTORABLE


def test_deleted_outputs_are_restorable_as_long_as_the_cache_has_them(
    made: MiniRepository,
) -> None:
    shutil.rmtree(made.root / "data")
    assert states(make_plan(made.root)) == dict.fromkeys(made.graph, State.RESTORABLE)
    shutil.rmtree(made.root / ".dvc/cache/files")
    assert states(make_plan(made.root))["first"] is State.MUST_RUN


def test_a_missing_source_blocks_its_stage_and_those_below(mini: MiniRepository) -> None:
    path = mini.root / "dvc.yaml"
    text = path.read_text()
    path.write_text(
        text.replace("[data/first.txt]\n    params: [left]", "[brought.txt]\n    params: [left]")
    )
    plan = make_plan(mini.root)
    assert states(plan)["left"] is State.BLOCKED
    assert plan.by_name["left"].reason == "brought.txt is missing"
    assert plan.by_name["last"].reason == "needs left"
    assert states(plan)["right"] is State.MUST_RUN


def watch_code(mini: MiniRepository) -> None:
    """Give the repository the stage `code`, and every stage its entry of what that writes."""
    shutil.copy(HERE / "stages/code.py", mini.root / "stages/code.py")
    shutil.copy(HERE / "requirements.lock", mini.root)
    text = (mini.root / "dvc.yaml").read_text()
    for name in mini.graph:
        text = text.replace(f"[{name}]", f"[{name}, data/code/closures.json: [{name}]]")
    code = """stages:
  code:
    cmd: python -m stages.code --lock requirements.lock --out data/code
    deps: [models, stages, requirements.lock]
    params: [code]
    outs: [data/code/closures.json, data/code/files.json]
"""
    (mini.root / "dvc.yaml").write_text(text.replace("stages:\n", code, 1))
    params = mini.root / "params.yaml"
    params.write_text(f"code: {{}}\n{params.read_text()}")


def test_an_edit_of_the_code_is_foreseen_and_reaches_only_those_that_run_it(
    mini: MiniRepository,
) -> None:
    watch_code(mini)
    assert mini.run("run", "--local")[0] == 0
    assert not make_plan(mini.root).pending
    unchanged = dict.fromkeys(mini.graph, State.UNCHANGED)
    source = mini.root / "stages/left.py"
    text = source.read_text()

    source.write_text(f'"""What it does."""\n{text}  # and a comment\n')
    assert states(make_plan(mini.root)) == {"code": State.MUST_RUN, **unchanged}
    assert "1 completed, 4 cached" in mini.run("run", "--local")[1]

    source.write_text(text.replace("range(5)", "range(4)"))
    plan = make_plan(mini.root)
    edited = {"left": State.MUST_RUN, "last": State.WAITING}
    assert states(plan) == {"code": State.MUST_RUN, **unchanged, **edited}
    assert plan.by_name["left"].reason == "stages/left.py modified"
    assert plan.by_name["last"].reason == "after left"
    assert mini.run("run", "--local")[0] == 0
    assert not make_plan(mini.root).pending

    source.write_text(text)
    again = {"left": State.RESTORABLE, "last": State.RESTORABLE}
    assert states(make_plan(mini.root)) == {"code": State.RESTORABLE, **unchanged, **again}


def test_a_library_reaches_only_those_that_import_it(mini: MiniRepository) -> None:
    watch_code(mini)
    left = mini.root / "stages/left.py"
    left.write_text(f"import networkx\n{left.read_text()}")
    assert mini.run("run", "--local")[0] == 0
    lock = mini.root / "requirements.lock"
    lock.write_text(lock.read_text().replace("networkx==", "networkx==9."))
    plan = make_plan(mini.root)
    assert {name for name, state in states(plan).items() if state is State.MUST_RUN} == {
        "code",
        "left",
    }
    assert plan.by_name["left"].reason == "networkx modified"


def keep_correction(mini: MiniRepository) -> Path:
    """A file that `dvc add` keeps in a folder that `left` reads."""
    path = mini.root / "dvc.yaml"
    path.write_text(
        path.read_text().replace(
            "[data/first.txt]\n    params: [left]",
            "[data/first.txt, data/corrections]\n    params: [left]",
        )
    )
    correction = mini.root / "data/corrections/x.png"
    correction.parent.mkdir(parents=True)
    correction.write_bytes(b"by hand")
    assert dvc(mini, "add", "data/corrections/x.png").returncode == 0
    return correction


def dvc(mini: MiniRepository, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=mini.root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_dvc_keeps_itself_is_no_step_and_blocks_when_it_is_missing(
    mini: MiniRepository,
) -> None:
    correction = keep_correction(mini)
    assert list(states(make_plan(mini.root))) == list(mini.graph)
    assert mini.run("run", "left", "--local")[0] == 0
    assert not make_plan(mini.root, ["left"]).pending
    correction.unlink()
    plan = make_plan(mini.root)
    assert states(plan)["left"] is State.BLOCKED
    expected = "data/corrections/x.png is missing; dvc pull data/corrections/x.png.dvc"
    assert plan.by_name["left"].reason == expected
    assert plan.by_name["last"].reason == "needs left"
    code, text = mini.run("run", "left", "--local")
    assert code == 1
    assert text.startswith(f"left cannot be made: {expected}\n"), "said before the work"
    assert f"left was skipped: {expected}" in text
    refused = dvc(mini, "repro", "left")
    assert refused.returncode
    assert "missing data 'source': data" in refused.stderr
    assert dvc(mini, "checkout", "data/corrections/x.png.dvc").returncode == 0
    assert not make_plan(mini.root, ["left"]).pending


def test_a_correction_that_is_removed_leaves_what_was_made_without_it(
    mini: MiniRepository,
) -> None:
    correction = keep_correction(mini)
    (correction.parent / "README.md").write_text("what a fresh clone has")
    pointer = correction.with_suffix(".png.dvc")
    kept = {path: path.read_bytes() for path in (correction, pointer)}
    for path in kept:
        path.unlink()
    assert mini.run("run", "left", "--local")[0] == 0
    for path, content in kept.items():
        path.write_bytes(content)
    assert states(make_plan(mini.root))["left"] is State.MUST_RUN
    assert mini.run("run", "left", "--local")[0] == 0
    for path in kept:
        path.unlink()
    assert states(make_plan(mini.root))["left"] is State.RESTORABLE


def test_planning_changes_nothing(mini: MiniRepository) -> None:
    before = sorted(path for path in mini.root.rglob("*") if ".dvc" not in path.parts)
    make_plan(mini.root)
    after = sorted(path for path in mini.root.rglob("*") if ".dvc" not in path.parts)
    assert after == before


def test_a_broken_dvc_yaml_is_one_line(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text("stages:\n  a:\n    command: x\n")
    with pytest.raises(InputError, match=r"dvc\.yaml"):
        make_plan(tmp_path)


def test_reasons_are_cut_short() -> None:
    changes = [{"changed deps": {name: "modified" for name in "abcde"}}, "changed command"]
    assert explain(changes) == "a modified, b modified, c modified, 3 more"


def diamond_with_a_tail() -> Plan:
    above = {"root": (), "short": ("root",), "long": ("root",), "middle": ("long",)}
    above["end"] = ("middle", "short")
    return Plan(tuple(Step(name, up, State.MUST_RUN) for name, up in above.items()))


class Recorder:
    """Takes the place of a Runner; `bad` fails."""

    def __init__(self, bad: str = "") -> None:
        self.bad = bad
        self.started: list[str] = []

    def execute(self, step: Step, log: object) -> Result:
        self.started.append(step.name)
        failed = step.name == self.bad
        return Result(step.name, Ending.FAILED if failed else Ending.COMPLETED)


def test_of_the_ready_stages_the_longest_chain_starts_first() -> None:
    plan, runner = diamond_with_a_tail(), Recorder()
    assert plan.stages_below() == {"root": 3, "short": 1, "long": 2, "middle": 1, "end": 0}
    results = run_local(plan, runner, Limits(1, {}), lambda _: None)  # type: ignore[arg-type]
    assert runner.started.index("long") < runner.started.index("short")
    assert list(results) == [step.name for step in plan.steps]


def test_below_a_failure_all_is_skipped_and_the_rest_runs() -> None:
    runner = Recorder(bad="long")
    results = run_local(
        diamond_with_a_tail(),
        runner,
        Limits(2, {}),
        lambda _: None,  # type: ignore[arg-type]
    )
    skipped = {name for name, result in results.items() if result.ending is Ending.SKIPPED}
    assert skipped == {"middle", "end"}
    assert set(runner.started) == {"root", "short", "long"}


def test_a_frozen_stage_is_unchanged_whatever_becomes_of_its_inputs(made: MiniRepository) -> None:
    made.set("first", "value", 2)
    assert made.run("freeze", "left")[0] == 0
    plan = make_plan(made.root)
    assert states(plan) == {
        "first": State.MUST_RUN,
        "left": State.UNCHANGED,
        "right": State.WAITING,
        "last": State.UNCHANGED,
    }
    assert plan.by_name["left"].upstream == ()


def test_missing_weights_block_the_stage_that_names_them_before_any_work(
    mini: MiniRepository,
) -> None:
    path = mini.root / "params.yaml"
    named = "left:\n  weights: imagenet.pth\n  backbone: mobilenet_v2\n"
    path.write_text(path.read_text().replace("left:\n", named))
    plan = make_plan(mini.root)
    assert states(plan) == {
        "first": State.MUST_RUN,
        "left": State.BLOCKED,
        "right": State.MUST_RUN,
        "last": State.BLOCKED,
    }
    reason = plan.by_name["left"].reason
    assert reason.startswith("left.weights: data/raw/weights/imagenet.pth is missing; put the file")
    assert "'MobileNet_V2_Weights.IMAGENET1K_V1'" in reason
    dvc_yaml = mini.root / "dvc.yaml"
    text = dvc_yaml.read_text()
    dvc_yaml.write_text(text.replace("    params: [first]", "    deps: [x]\n    params: [first]"))
    reasons = [step.reason for step in make_plan(mini.root, ["last"]).steps]
    assert reasons == ["x is missing", reason, "needs left"], "both at once"
    dvc_yaml.write_text(text)
    weights = mini.root / "data/raw/weights/imagenet.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert states(make_plan(mini.root))["left"] is State.MUST_RUN


def test_outside_git_one_line_says_what_to_type(mini: MiniRepository) -> None:
    shutil.rmtree(mini.root / ".git")
    for words in (("run", "--local"), ("status",)):
        code, text = mini.run(*words)
        assert code == 1
        assert text.endswith("git init && git add -A && git commit -m start\n")
        assert len(text.splitlines()) == 1


def test_a_run_ends_with_what_its_last_stages_made() -> None:
    steps = [
        Step("alone", (), State.UNCHANGED, outs=("data/alone",)),
        Step("start", (), State.UNCHANGED, outs=("data/start",)),
        Step("masks", ("start",), State.UNCHANGED, outs=("data/masks/voc", "data/masks/a.json")),
        *(
            Step(f"score@{name}", ("start",), State.UNCHANGED, outs=(f"data/score/{name}.json",))
            for name in "abcd"
        ),
    ]
    assert final_outs(Plan(tuple(steps))) == {
        "masks": ["data/masks/voc", "data/masks/a.json"],
        "score": ["data/score"],
    }
    assert final_outs(Plan(tuple(steps[1:2]))) == {"start": ["data/start"]}
