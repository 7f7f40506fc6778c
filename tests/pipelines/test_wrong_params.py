"""What is wrong ends in one line at every door; `benchmarks.fuzz_params` draws 300 files."""

import pytest

from benchmarks.fuzz_params import main
from tests.pipelines.mini_repository import MiniRepository


def test_no_malformed_params_end_in_a_traceback_or_a_hang(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = main(["--count", "25", "--seed", "1"])
    assert code == 0, capsys.readouterr().out


def test_status_and_run_refuse_a_value_before_dvc_reads_it(mini: MiniRepository) -> None:
    mini.set("left", "value", "[1, 2]")
    for command in (["status"], ["run", "--local"]):
        code, text = mini.run(*command)
        assert code == 1
        assert text == "params.yaml: left.value: Input should be a valid integer, found [1, 2]\n"


def test_a_wrong_variable_ends_a_run_before_any_work(
    mini: MiniRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEDMASK_JOBS", "x")
    code, text = mini.run("run", "--local")
    assert code == 1
    assert text == "SEEDMASK_JOBS: expected a whole number, 1 or more, found 'x'\n"
