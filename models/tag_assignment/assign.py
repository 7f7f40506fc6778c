"""Tags for salient instances: similarity graph, eq. 8, solution (Fan et al. 2018, section 4)."""

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from models.tag_assignment.dual import margins
from models.tag_assignment.problem import (
    Bools,
    Floats,
    Indices,
    Problem,
    build_problem,
    check_probabilities,
    kept_count,
)
from models.tag_assignment.similarity import Symmetrise, row_norms, similarity_graph
from models.tag_assignment.solve import Solution, solve


@dataclass(frozen=True)
class Settings:
    """How tags are assigned; a stage checks the ranges.

    Attributes:
        neighbours: k of section 4.1. Paper: 3.
        symmetrise: what becomes of an edge that one end retains (`similarity_graph`).
        beta: weight of the attention probabilities. Paper: 30.
        retention: r, the part of the instances that gets a tag. Paper: 0.95.
        infeasible: what to do when fewer than floor(r n) instances have a keyword: "raise", or
            "clip" to tag all that have one.
        batch: instances per problem, in their order, each with a graph of its own; 0: all in one.
            The paper's 400 was the limit of its solver's licence.
        time_limit: wall seconds for what dual ascent leaves open of a problem; then the gap stays.
    """

    neighbours: Annotated[int, Gt(0)]
    symmetrise: Symmetrise
    beta: Annotated[float, Ge(0)]
    retention: Annotated[float, Ge(0), Le(1)]
    infeasible: Literal["raise", "clip"]
    batch: Annotated[int, Ge(0)]
    time_limit: Annotated[float, Gt(0)]


@dataclass(frozen=True)
class Assignment:
    """The tags of n instances.

    Attributes:
        categories: int64 [n], REJECTED (-1) for noise.
        margins: float64 [n] >= 0, of the bound: what deciding otherwise about the instance costs at
            least (`models.tag_assignment.dual.margins`); inf where nothing else is possible.
        lower: the objective of eq. 8, summed over the batches.
        upper: no assignment has a higher one.
        dual_upper: the bound that needs no solver's word.
    """

    categories: Indices
    margins: Floats
    lower: float
    upper: float
    dual_upper: float


class Solver(Protocol):
    """`solve`, or `models.tag_assignment.statement.solve_statement`."""

    def __call__(self, problem: Problem, *, time_limit: float) -> Solution: ...  # noqa: D102


def assign_tags(
    features: npt.NDArray[np.floating],
    probabilities: npt.NDArray[np.floating],
    keywords: Bools,
    settings: Settings,
    *,
    solver: Solver = solve,
) -> Assignment:
    """Give every instance one of its image's keywords, or none.

    Args:
        features: [n, d], one semantic feature per instance.
        probabilities: [n, C] p of eq. 2.
        keywords: bool [n, C], the keywords of each instance's image.
        settings: see `Settings`.
        solver: of eq. 8.

    Raises:
        ValueError: as `nearest_neighbours`, `build_problem` and `kept_count`.
    """
    size = settings.batch or max(len(features), 1)
    starts = range(0, len(features), size)
    if len(starts) > 1:  # or else errors would name rows of a batch
        row_norms(features)
        check_probabilities(probabilities)
    parts = [
        _assign_part(
            features[start : start + size],
            probabilities[start : start + size],
            keywords[start : start + size],
            settings,
            solver,
        )
        for start in starts
    ]
    return Assignment(
        categories=np.concatenate([np.empty(0, np.int64), *(part.categories for part in parts)]),
        margins=np.concatenate([np.empty(0), *(part.margins for part in parts)]),
        lower=sum(part.lower for part in parts),
        upper=sum(part.upper for part in parts),
        dual_upper=sum(part.dual_upper for part in parts),
    )


def _assign_part(
    features: npt.NDArray[np.floating],
    probabilities: npt.NDArray[np.floating],
    keywords: Bools,
    settings: Settings,
    solver: Solver,
) -> Assignment:
    kept = kept_count(settings.retention, len(features))
    if settings.infeasible == "clip":
        kept = min(kept, int(keywords.any(1).sum()))
    graph = similarity_graph(features, settings.neighbours, symmetrise=settings.symmetrise)
    problem = build_problem(probabilities, keywords, graph, beta=settings.beta, kept=kept)
    found = solver(problem, time_limit=settings.time_limit)
    return Assignment(
        categories=problem.categories(found.chosen),
        margins=margins(problem, found.shares, found.chosen),
        lower=found.lower,
        upper=found.upper,
        dual_upper=found.dual_upper,
    )
