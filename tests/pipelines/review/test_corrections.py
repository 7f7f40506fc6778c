from pathlib import Path

import pytest

from pipelines.graph.plan import Plan, State, Step
from pipelines.review import corrections


def plan_of(export: State) -> Plan:
    """`labels` reads the corrections; `masks` is two stages from there, `page` three."""
    command = "python -m stages.labels --corrections data/corrections --out data/labels"
    return Plan(
        (
            Step("dataset", (), State.UNCHANGED),
            Step("labels", ("dataset",), State.MUST_RUN, command=command),
            Step("score", ("labels",), State.WAITING),
            Step("page", ("score",), State.WAITING),
            Step("masks", ("labels",), export),
            Step("other", ("dataset",), State.MUST_RUN),
        )
    )


@pytest.mark.parametrize(
    ("export", "expected"), [(State.WAITING, "masks"), (State.LEFT_OUT, "page")]
)
def test_the_hint_is_the_run_with_the_fewest_stages_that_uses_the_corrections(
    monkeypatch: pytest.MonkeyPatch, export: State, expected: str
) -> None:
    monkeypatch.setattr(corrections, "make_plan", lambda root: plan_of(export))
    command = corrections.command_that_applies(Path())
    assert command == f"./seedmask run {expected}"


def test_where_nothing_reads_corrections_the_hint_is_the_whole_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Plan((Step("labels", (), State.MUST_RUN, command="make labels"),))
    monkeypatch.setattr(corrections, "make_plan", lambda root: plan)
    assert corrections.command_that_applies(Path()) == "./seedmask run"
