import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.run.schedule import default_limits
from stages.engine.environment import read_count, read_share
from stages.engine.errors import InputError
from stages.engine.parallel import default_workers

WRONG = ["x", "0", "-1", "1.5", "1_000", "²", "٣", "inf", "1e3", "9" * 5000, "1 2"]


@pytest.mark.parametrize("text", WRONG)
def test_a_count_that_is_none_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMASK_JOBS", text)
    with pytest.raises(InputError, match="SEEDMASK_JOBS: expected a whole number, 1 or more, fo"):
        default_limits()
    assert default_limits(jobs=3).jobs == 3  # the option wins, as it is not read then


@pytest.mark.parametrize(
    ("variable", "read"),
    [("SEEDMASK_HEAVY", default_limits), ("SEEDMASK_WORKERS", default_workers)],
)
def test_every_count_is_read_so(
    variable: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(read)
    monkeypatch.setenv(variable, "many")
    with pytest.raises(InputError, match=f"^{variable}: expected .*, found 'many'$"):
        read()


@given(st.integers(1, 10**9 - 1))
def test_a_count_is_read(number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEDMASK_JOBS", f" {number} ")
        assert read_count("SEEDMASK_JOBS", 2) == number


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_variable_is_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMASK_JOBS", text)
    monkeypatch.setenv("SEEDMASK_VERIFY_MEMO", text)
    assert read_count("SEEDMASK_JOBS", 7) == 7
    assert read_share("SEEDMASK_VERIFY_MEMO") == 0


@pytest.mark.parametrize("text", ["x", "nan", "inf", "-0.1", "1.1", "1,5"])
def test_a_share_that_is_none_is_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDMASK_VERIFY_MEMO", text)
    with pytest.raises(InputError, match=r"^SEEDMASK_VERIFY_MEMO: expected a number from 0 to"):
        read_share("SEEDMASK_VERIFY_MEMO")
