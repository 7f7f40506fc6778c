import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipelines.graph.presets import preset_names, use_preset
from stages.engine.errors import InputError
from tests.pipelines.mini_repository import MiniRepository

HERE = Path(__file__).resolve().parents[3]


def refused(mini: MiniRepository, *arguments: str) -> str:
    """What `use` says; params.yaml must stay as it is."""
    before = (mini.root / "params.yaml").read_bytes()
    code, text = mini.run("use", *arguments)
    assert code == 1, text
    assert (mini.root / "params.yaml").read_bytes() == before
    return text.strip()


def test_a_preset_changes_what_it_names_and_keeps_the_comments(mini: MiniRepository) -> None:
    code, text = mini.run("use", "slow", "first.value=7")
    assert code == 0
    assert "left.seconds = 3.0" in text
    lines = (mini.root / "params.yaml").read_text().splitlines()
    assert lines[0] == "# Written by `./seedmask use slow first.value=7`."
    assert "# Four stages." in lines
    assert "  value: 7 # a number" in lines
    assert YAML(typ="safe").load(mini.root / "params.yaml")["left"]["seconds"] == 3.0


def test_default_restores_the_embedded_default_byte_for_byte(mini: MiniRepository) -> None:
    mini.run("use", "slow")
    code, _ = mini.run("use", "default")
    assert code == 0
    default = (mini.root / "presets/default.yaml").read_bytes()
    assert (mini.root / "params.yaml").read_bytes() == default


def test_a_preset_starts_from_the_default_not_from_what_is_there(mini: MiniRepository) -> None:
    mini.run("use", "default", "right.value=9")
    mini.run("use", "slow")
    assert YAML(typ="safe").load(mini.root / "params.yaml")["right"]["value"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["slwo"], "presets/slwo.yaml: no such preset; did you mean 'slow'?"),
        (["slow", "frist.value=1"], "frist.value=1: unknown section 'frist'; did you mean 'first'"),
        (["slow", "first.vaule=1"], "unknown key first.vaule; did you mean 'value'?"),
        (["slow", "first.value"], "first.value: expected section.key=value"),
        (["slow", "first.value=[1"], "first.value=[1: line 2: not valid YAML: did not find"),
        (["slow", "first.value=[&a [1], *a]"], "line 1: expected the value itself, found the ali"),
        (["slow", "first.value=1\nleft: {}"], "expected one line, section.key=value"),
        (["slow", "first.seconds=.inf"], "first.seconds: expected a finite number, found inf"),
        (["slow", "first.value=many"], "params.yaml: first.value: Input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(
    mini: MiniRepository, arguments: list[str], message: str
) -> None:
    text = refused(mini, *arguments)
    assert message in text
    assert "Traceback" not in text


def test_a_preset_with_an_unknown_key_names_its_file(mini: MiniRepository) -> None:
    (mini.root / "presets/bad.yaml").write_text("left:\n  secnds: 3.0\n")
    text = refused(mini, "bad")
    assert "presets/bad.yaml: unknown key left.secnds; did you mean 'seconds'?" in text


def test_a_preset_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/default.yaml").write_text("a:\n  b: 1\n")
    (tmp_path / "presets/odd.yaml").write_text("a: 3\n")
    with pytest.raises(InputError, match=r"a: expected key: value pairs, found 3"):
        use_preset(tmp_path, "odd")


@pytest.mark.parametrize("name", preset_names(HERE))
def test_every_preset_of_ours_is_valid(name: str, tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    for preset in preset_names(HERE):
        content = (HERE / "presets" / f"{preset}.yaml").read_bytes()
        (tmp_path / "presets" / f"{preset}.yaml").write_bytes(content)
    use_preset(tmp_path, name)
    written = YAML(typ="safe").load(tmp_path / "params.yaml")
    preset = YAML(typ="safe").load(tmp_path / "presets" / f"{name}.yaml")
    preset.pop("preset", None)
    for section, values in preset.items():
        assert written[section].items() >= values.items()


def test_the_default_keeps_its_layout_when_a_number_changes(tmp_path: Path) -> None:
    (tmp_path / "presets").mkdir()
    default = (HERE / "presets/default.yaml").read_text()
    (tmp_path / "presets/default.yaml").write_text(default)
    use_preset(tmp_path, "default", ["scenes.seed=41"])
    before = default.splitlines()
    after = (tmp_path / "params.yaml").read_text().splitlines()[1:]
    assert [line for line in after if line not in before] == ["  seed: 41 # of all that is drawn"]
    assert len(after) == len(before)


def test_a_preset_is_based_on_another(mini: MiniRepository) -> None:
    (mini.root / "presets/slower.yaml").write_text("preset: slow\nright:\n  seconds: 4.0\n")
    assert mini.run("use", "slower", "first.value=5")[0] == 0
    found = YAML(typ="safe").load(mini.root / "params.yaml")
    assert (found["left"]["seconds"], found["right"]["seconds"]) == (3.0, 4.0)
    assert found["first"]["value"] == 5


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("odd", "odd.yaml: preset: based on itself: odd, odd"),
        ("slwo", "presets/slwo.yaml: no such preset; did you mean 'slow'?"),
        ("[1]", "presets/[1].yaml: no such preset; known: "),
    ],
)
def test_a_preset_based_on_none_is_refused(tmp_path: Path, base: str, message: str) -> None:
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/default.yaml").write_text("a:\n  b: 1\n")
    (tmp_path / "presets/slow.yaml").write_text("a:\n  b: 2\n")
    (tmp_path / "presets/odd.yaml").write_text(f"preset: {base}\n")
    with pytest.raises(InputError) as caught:
        use_preset(tmp_path, "odd")
    assert message in str(caught.value)


def test_photographs_name_no_classes_of_a_data_set(tmp_path: Path) -> None:
    shutil.copytree(HERE / "presets", tmp_path / "presets")
    use_preset(tmp_path, "photographs", ["dataset.root=data/raw/mine", "dataset.format=folder"])
    mine = YAML(typ="safe").load(tmp_path / "params.yaml")
    assert mine["labels_eval"]["classes"] == []
    use_preset(tmp_path, "voc2012-mobilenet")
    voc = YAML(typ="safe").load(tmp_path / "params.yaml")
    differing = {name for name in voc if voc[name] != mine[name]}
    assert differing == {"dataset", "labels_eval"}


OWN = "mine: # of a stage that I added\n  value: 5 # more\n\n  seconds: 0.1\n  fail: false\n"


def add_own_stage(mini: MiniRepository, *, first: bool) -> None:
    """A stage in dvc.yaml and params.yaml, of which presets/default.yaml knows nothing."""
    stage = (mini.root / "stages/first.py").read_text().replace("first", "mine")
    (mini.root / "stages/mine.py").write_text(stage)
    dvc, params = mini.root / "dvc.yaml", mini.root / "params.yaml"
    command = "python -m stages.mine --out data/mine"
    dvc.write_text(f"{dvc.read_text()}  mine: {{cmd: {command}, params: [mine]}}\n")
    text = params.read_text()
    own = f"{OWN}\n# of another\n" if first else f"\n{OWN}"
    params.write_text(own + text if first else text + own)


@pytest.mark.parametrize("first", [True, False])
def test_a_section_that_the_default_does_not_know_stays(mini: MiniRepository, first: bool) -> None:
    add_own_stage(mini, first=first)
    seconds = "0.1"
    for arguments in (["slow"], ["default"], ["slow", "mine.seconds=2"], ["default"]):
        code, text = mini.run("use", *arguments)
        assert code == 0, text
        seconds = "2" if "mine.seconds=2" in arguments else seconds
        kept = (mini.root / "params.yaml").read_text()
        assert OWN.replace("0.1", seconds) in kept
        assert kept.count("mine:") == 1
    assert mini.run("status")[0] == 0


def test_a_section_of_no_stage_goes_as_before(mini: MiniRepository) -> None:
    with (mini.root / "params.yaml").open("a") as file:
        file.write("\nnobody:\n  value: 1\n")
    assert mini.run("use", "default")[0] == 0
    assert "nobody" not in (mini.root / "params.yaml").read_text()


def test_own_sections_that_cannot_be_read_are_not_thrown_away(mini: MiniRepository) -> None:
    add_own_stage(mini, first=False)
    with (mini.root / "params.yaml").open("a") as file:
        file.write("broken: [1\n")
    assert "params.yaml: line" in refused(mini, "default")
