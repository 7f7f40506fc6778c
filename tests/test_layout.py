"""The house rules that a machine can hold us to."""

import ast
import re
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.engine.closure import CLOSURES, PACKAGES, import_closure
from stages.engine.plain_yaml import look_up
from stages.io.declarations import Node, overlap, read_nodes
from stages.io.report_lines import read_line

ROOT = Path(__file__).resolve().parents[1]
DVC_YAML: dict[str, Any] = YAML(typ="safe").load(ROOT / "dvc.yaml")
GRAPH: dict[str, dict[str, Any]] = DVC_YAML["stages"]
VARS = [name for entry in DVC_YAML["vars"] for name in entry]
PARAMS: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "params.yaml")
STAGES = list(GRAPH)
#: May see ground truth; nothing that is weakly supervised may read what they write.
MEASURING = {"labels_eval", "instances_eval", "ranking_eval", "deeplab_report", "report"}
#: Of these dvc.yaml says what the report shows.
SHOWN = [
    "labels_eval",
    "instances_eval",
    "ranking_curate",
    "retarget",
    "ranking_eval",
    "report",
]
UPPER_BOUNDS = {
    "deeplab_train@ground_truth",
    "deeplab_infer@ground_truth",
    "crf_refine@deeplab_ground_truth",
    "maskrcnn_train@ground_truth",
    "maskrcnn_infer@ground_truth",
}
GROUND_TRUTH = Path("data/dataset/ground_truth")
#: Masks that the user brought: an input of the line that begins with them, and of no other.
OUTLINES = Path("data/dataset/outlines.parquet")
BEGIN_WITH_MASKS = {"ranking_curate", "ranker_train", "ranker_infer", "instances_rank", "retarget"}
CORRECTIONS = Path("data/corrections")


@cache
def nodes() -> list[Node]:
    return read_nodes(ROOT / "dvc.yaml", PARAMS)


def _function(name: str) -> ast.FunctionDef:
    tree = ast.parse((ROOT / "stages" / f"{name}.py").read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    assert found, f"stages/{name}.py has no function {name}"
    return found[0]


def _options(name: str) -> tuple[list[str], int]:
    """What the command line of a stage may name, and how many of these it has to."""
    arguments = _function(name).args
    names = [argument.arg for argument in arguments.args[1:]]
    required = len(names) - len(arguments.defaults)
    takes_data = any(
        ast.unparse(argument.annotation) == "Dataset"
        for argument in arguments.args[1:]
        if argument.annotation
    )
    return [*names, *(["root", "kinds"] if takes_data else [])], required


def test_params_has_one_section_per_stage_in_the_order_of_dvc_yaml() -> None:
    assert list(PARAMS) == STAGES


def test_every_stage_reads_its_own_section_and_keys_that_exist() -> None:
    for node in nodes():
        assert node.stage in node.params, f"{node.name}: its section is not among its params"
        for key in node.params:
            assert look_up(key, PARAMS) is not None


@pytest.mark.parametrize("name", STAGES)
def test_stage_module_function_and_test_bear_one_name(name: str) -> None:
    source = (ROOT / "stages" / f"{name}.py").read_text()
    assert f'if __name__ == "__main__":\n    run({name})' in source
    assert (ROOT / "tests" / "stages" / f"test_{name}.py").is_file()
    first = _function(name).args.args[0]
    assert first.arg == "params"
    assert isinstance(first.annotation, ast.Name)
    assert first.annotation.id == "Params"


def test_every_stage_module_is_a_stage() -> None:
    modules = {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"}
    assert modules == set(STAGES)


@pytest.mark.parametrize("node", nodes(), ids=lambda node: node.name)
def test_the_command_names_the_stage_and_its_arguments(node: Node) -> None:
    words = shlex.split(node.cmd)
    assert words[:3] == ["./python", "-m", f"stages.{node.stage}"]
    options = {word[2:].replace("-", "_") for word in words[3:] if word.startswith("--")}
    names, required = _options(node.stage)
    assert set(names[:required]) <= options <= set(names)


@pytest.mark.parametrize("node", nodes(), ids=lambda node: node.name)
def test_a_stage_writes_below_its_own_folder_and_declares_the_paths_it_is_given(node: Node) -> None:
    folder = Path("data") / node.stage
    assert all(out.is_relative_to(folder) for out in node.outs)
    words = shlex.split(node.cmd)
    given = dict(zip(words[3::2], map(Path, words[4::2]), strict=True))
    assert given["--out"].is_relative_to(folder)
    for option, path in given.items():
        if path.is_relative_to("data") and option not in ("--out", "--root"):
            assert any(overlap(path, dep) for dep in node.deps), f"{path} is not a dep"


@pytest.mark.parametrize("node", nodes(), ids=lambda node: node.name)
def test_no_value_of_a_parameter_reaches_the_shell(node: Node) -> None:
    body = GRAPH[node.stage].get("do", GRAPH[node.stage])
    values = re.findall(r"\$\{(.*?)\}", body["cmd"])
    assert all(value.split(".")[0] in ("key", "item", *VARS) for value in values)
    for word in shlex.split(node.cmd):
        if word.startswith("@"):  # read from params.yaml, so a change must make the stage run
            assert {word[1:], word[1:].split(".")[0]} & set(node.params)


def test_every_stage_depends_on_its_own_code_and_names_no_file_of_it() -> None:
    for name, entry in GRAPH.items():
        body = entry.get("do", entry)
        others = [key for key in body["params"] if not isinstance(key, str)]
        own = [] if name == "code" else [{str(CLOSURES): [name]}]
        if name == "report":  # by another name, as DVC refuses its own file
            own.append({"graph.yaml": [f"stages.{each}" for each in SHOWN]})
            assert (ROOT / "graph.yaml").resolve() == ROOT / "dvc.yaml"
        assert others == own, name
        assert not [dep for dep in body.get("deps", []) if str(dep).endswith(".py")], name


def test_stages_never_import_one_another() -> None:
    modules = {Path("stages") / f"{name}.py" for name in STAGES}
    for name in STAGES:
        closure = set(import_closure(f"stages.{name}", ROOT))
        assert closure & modules == {Path("stages") / f"{name}.py"}


def sees_ground_truth(graph: list[Node], truth: Path = GROUND_TRUTH) -> set[str]:
    """The stages that read ground truth, or what a stage made that does."""
    forbidden = [truth]
    seen: set[str] = set()
    while True:
        found = {
            node.name
            for node in graph
            if any(overlap(dep, path) for dep in node.deps for path in forbidden)
        }
        if found == seen:
            return seen
        seen = found
        forbidden = [
            truth,
            *(out for node in graph if node.name in seen for out in node.outs),
        ]


def test_no_weakly_supervised_stage_has_seen_ground_truth() -> None:
    seen = sees_ground_truth(nodes())
    weak = {name for name in seen if name.split("@")[0] not in MEASURING} - UPPER_BOUNDS
    assert not weak
    assert "labels_eval@final" in seen, "the walk over the graph finds readers"
    assert "deeplab_train@ground_truth" in seen


def test_masks_are_an_input_of_the_ranking_line_alone() -> None:
    seen = sees_ground_truth(nodes(), OUTLINES)
    others = {name for name in seen if name.split("@")[0] not in BEGIN_WITH_MASKS}
    assert {name for name in others if not name.startswith("ranking_eval@")} <= {"report@ranking"}
    assert {"ranking_curate", "ranking_eval@curated"} <= seen


def test_labels_made_by_hand_enter_in_one_place() -> None:
    readers = {n.name for n in nodes() if any(overlap(d, CORRECTIONS) for d in n.deps)}
    assert {name.split("@")[0] for name in readers} == {"labels_final"}
    final = Path("data/labels_final/masks/labels")
    later = {n.name for n in nodes() if any(overlap(final, dep) for dep in n.deps)}
    expected = {"instances_split@masks", "masks_export@masks", "report@masks"}
    assert later == expected | {"deeplab_train@a2gnn", "labels_eval@final"}


def test_the_walk_finds_a_leak_through_another_stage() -> None:
    leak = Node("x", "", (Path("data/labels_eval"),), (), (Path("data/x"),))
    below = Node("y", "", (Path("data/x/labels"),), (), (Path("data/y"),))
    assert {"x", "y"} <= sees_ground_truth([*nodes(), leak, below])


def test_every_type_that_is_declared_is_one_of_the_words() -> None:
    words = {"", "label_maps", "instance_maps", "score_maps", "graphs", "pictures", "instances"}
    words |= {"fixations", "tables", "weights", "pages", "measures", "curves"}
    outputs = [output for node in nodes() for output in node.outputs]
    assert {output.type for output in outputs} <= words
    assert {label for output in outputs for label in output.labels} == {"final", "opinion", "truth"}


def test_every_line_has_a_report_final_labels_a_deployment_and_a_row_that_is_final() -> None:
    lines = {node.name.split("@")[1] for node in nodes() if node.stage == "report"}
    outputs = [output for node in nodes() for output in node.outputs]
    assert lines == {output.line for output in outputs if "final" in output.labels}
    for line in lines:
        read_line(nodes(), line, ROOT / "dvc.yaml")
    assert GRAPH["report"]["do"]["meta"]["needs"], "a data set without its labels is refused"
    deployed = YAML(typ="safe").load(ROOT / "prefect.yaml")["deployments"]
    assert {each["name"] for each in deployed} == lines | {"on-demand"}


def test_shared_code_knows_no_paper_by_name() -> None:
    own = {f"stages/{name}.py" for name in STAGES} - {"stages/report.py"}
    words = r"a2gnn|a²gnn|walk_label|seeds_fuse|confident|grabcut|labels_eval|deeplab_eval"
    for path in [*(ROOT / "pipelines").rglob("*"), *(ROOT / "stages").rglob("*")]:
        name = path.relative_to(ROOT).as_posix()
        if path.suffix in (".py", ".j2", ".js", ".css") and name not in own:
            found = re.search(words, path.read_text(), re.IGNORECASE)
            assert found is None, f"{name}: {found}"


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = [name for name in listed.stdout.split("\0") if name]
    return [Path(name) for name in names if (ROOT / name).is_file()]


def test_init_files_are_empty_and_tests_have_none() -> None:
    inits = [path for path in _tracked() if path.name == "__init__.py"]
    assert all((ROOT / path).read_bytes() == b"" for path in inits)
    assert not [path for path in inits if path.parts[0] == "tests"]


def test_there_are_no_drawers_no_code_in_data_and_no_long_files() -> None:
    for path in _tracked():
        if path.suffix != ".py":
            continue
        assert not {"utils", "util", "common", "helpers", "misc"} & {*path.parts, path.stem}, path
        assert path.parts[0] != "data", path
        assert len((ROOT / path).read_text().splitlines()) < 450, f"{path} is too long"


def test_params_is_committed_as_the_embedded_default() -> None:
    """What is not committed yet may differ: `use` writes params.yaml, `new-stage` both."""
    hashes = subprocess.run(
        ["git", "rev-parse", "HEAD:params.yaml", "HEAD:presets/default.yaml"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if hashes.returncode:
        pytest.skip("what is committed is asked of git, and this copy has no .git")
    assert len(set(hashes.stdout.split())) == 1


@pytest.mark.parametrize("folder", ["stages", "pipelines", "benchmarks"])
def test_images_are_opened_with_a_list_of_formats(folder: str) -> None:
    """Without one Pillow tries all that it knows, and of those EPS starts a program."""
    for path in (ROOT / folder).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Image.open":
                named = {keyword.arg for keyword in call.keywords}
                assert "formats" in named, f"{path}:{call.lineno}"


@pytest.mark.parametrize("text", ["UNKNOWN = ", "0.485", "0.229"])
def test_the_unknown_label_and_imagenets_colours_are_written_in_one_place(text: str) -> None:
    files = [path for path in _tracked() if path.parts[0] in PACKAGES and path.suffix == ".py"]
    assert sum((ROOT / path).read_text().count(text) for path in files) == 1
