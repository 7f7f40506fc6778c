import pytest

from pipelines.graph.plan import Directions, Plan, State, Step
from pipelines.graph.result import Ending, Result
from pipelines.run.schedule import Limits, Schedule, default_limits


def plan(**metas: Directions) -> Plan:
    return Plan(tuple(Step(name, (), State.MUST_RUN, meta=meta) for name, meta in metas.items()))


def started(schedule: Schedule) -> list[str]:
    return [step.name for step, _ in schedule.start()]


def completed(name: str) -> Result:
    return Result(name, Ending.COMPLETED)


def test_no_more_than_the_jobs_run_at_once() -> None:
    schedule = Schedule(plan(a=Directions(), b=Directions(), c=Directions()), Limits(2, {}))
    assert started(schedule) == ["a", "b"]
    assert started(schedule) == []
    schedule.end(completed("a"))
    assert started(schedule) == ["c"]
    assert not schedule.is_over
    schedule.end(completed("b"))
    schedule.end(completed("c"))
    assert schedule.is_over


def test_marked_stages_have_a_limit_of_their_own_and_leave_the_jobs_to_others() -> None:
    steps = plan(
        one=Directions(gpu=True),
        two=Directions(gpu=True),
        both=Directions(gpu=True, heavy=True),
        free=Directions(),
    )
    schedule = Schedule(steps, Limits(4, {"gpu": 1, "heavy": 1}))
    assert started(schedule) == ["one", "free"]
    schedule.end(completed("one"))
    assert started(schedule) == ["two"]
    schedule.end(completed("two"))
    assert started(schedule) == ["both"]


def test_a_mark_without_a_limit_limits_nothing() -> None:
    schedule = Schedule(
        plan(one=Directions(gpu=True), two=Directions(gpu=True)), Limits(4, {"heavy": 1})
    )
    assert started(schedule) == ["one", "two"]


def test_unchanged_stages_need_no_room() -> None:
    steps = (
        Step("busy", (), State.MUST_RUN),
        Step("made", (), State.UNCHANGED),
        Step("below", ("made",), State.UNCHANGED),
    )
    schedule = Schedule(Plan(steps), Limits(1, {}))
    assert set(started(schedule)) == {"busy", "made"}
    schedule.end(Result("made", Ending.CACHED))
    assert started(schedule) == ["below"]


@pytest.mark.parametrize(("visible", "expected"), [("0,1", 2), ("", None), ("-1", None)])
def test_as_many_gpu_stages_as_visible_gpus(
    visible: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("SEEDMASK_HEAVY", "3")
    limits = default_limits(5)
    assert limits.jobs == 5
    assert limits.marked.get("gpu") == expected
    assert limits.marked["heavy"] == 3
