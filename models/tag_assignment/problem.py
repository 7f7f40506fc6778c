"""Eq. 8 of Fan et al. (2018) as slots and pairs, in numbers whose sums are exact.

A slot is an instance with one of its image's keywords: a variable x_ij that may be 1. A pair is two
slots of one category on an edge of the similarity graph: x'Wx gains its weight where both are
chosen. Eq. 8 is then

    maximise  sum of the gains of the chosen slots + sum of the weights of the chosen pairs
    subject to  at most one slot per instance,  floor(r n) slots in all.

Gains and weights are rounded to whole multiples of a unit, a power of two such that their total
stays below 2^53: every sum of them is then exact in float64, so bounds and objectives can be
compared without a tolerance. The rounding is that of any float64 sum of this size.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.tag_assignment.similarity import SimilarityGraph

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

REJECTED = -1  # the category of an instance that gets no tag: noise


@dataclass(frozen=True)
class Problem:
    """Slots in the order of their instances, and pairs of slots.

    Attributes:
        instances: n.
        kept: floor(r n), how many get a tag.
        unit: what 1 in `gain` and `weight` stands for, a power of two.
        tagged: int64 [T] the instances with a keyword, ascending.
        starts: int64 [T + 1] where the slots of each of them begin.
        category: int64 [L] of each slot, ascending within an instance.
        gain: float64 [L] beta p in units, whole numbers >= 0.
        left, right: int64 [P] the slots of each pair.
        weight: float64 [P] W_uv + W_vu in units, whole numbers >= 0.
    """

    instances: int
    kept: int
    unit: float
    tagged: Indices
    starts: Indices
    category: Indices
    gain: Floats
    left: Indices
    right: Indices
    weight: Floats

    @cached_property
    def owner(self) -> Indices:
        """int64 [L] the row in `tagged` of each slot's instance."""
        return np.repeat(np.arange(len(self.tagged)), np.diff(self.starts))

    @cached_property
    def ends(self) -> Indices:
        """int64 [2, P] the rows in `tagged` of each pair's instances."""
        return self.owner[np.stack([self.left, self.right])]

    def objective(self, chosen: Bools) -> float:
        """What eq. 8 maximises, in units, of the slots that are chosen (bool [L])."""
        together = chosen[self.left] & chosen[self.right]
        return float(self.gain[chosen].sum() + self.weight[together].sum())

    def rejected(self, chosen: Bools) -> Bools:
        """Bool [T], which instances have none of the chosen slots."""
        found = np.ones(len(self.tagged), dtype=bool)
        found[self.owner[chosen]] = False
        return found

    def categories(self, chosen: Bools) -> Indices:
        """int64 [n] the category of each instance, or REJECTED."""
        found = np.full(self.instances, REJECTED, dtype=np.int64)
        found[self.tagged[self.owner[chosen]]] = self.category[chosen]
        return found


def build_problem(
    probabilities: npt.NDArray[np.floating],
    keywords: Bools,
    graph: SimilarityGraph,
    *,
    beta: float,
    kept: int,
) -> Problem:
    """Eq. 8 of a set of instances.

    Args:
        probabilities: [n, C] p of eq. 2, in [0, 1].
        keywords: bool [n, C], the keywords of each instance's image.
        graph: of these n instances.
        beta: weight of p, >= 0; paper: 30.
        kept: how many instances get a tag (`kept_count`).

    Raises:
        ValueError: shapes that differ, a p outside [0, 1], a bad beta or more to keep than have a
            keyword.
    """
    if probabilities.shape != keywords.shape or graph.nodes != len(keywords):
        raise ValueError(
            f"probabilities {probabilities.shape}, keywords {keywords.shape} and a graph of"
            f" {graph.nodes}: expected [n, C] twice and a graph of n"
        )
    if not (math.isfinite(beta) and beta >= 0):
        raise ValueError(f"beta: expected a number >= 0, got {beta}")
    check_probabilities(probabilities)
    counts = keywords.sum(1)
    tagged = np.flatnonzero(counts)
    if not 0 <= kept <= len(tagged):
        raise ValueError(
            f"kept: {kept} of {len(keywords)} instances are to be tagged;"
            f" expected at most the {len(tagged)} that have a keyword"
        )
    rows, category = np.nonzero(keywords)
    gain = beta * probabilities[rows, category].astype(np.float64)
    edges, shared = np.nonzero(keywords[graph.left] & keywords[graph.right])
    # the slot of (row, column), where there is one
    slots = np.cumsum(keywords, dtype=np.int64).reshape(keywords.shape) - 1
    left = slots[graph.left[edges], shared]
    right = slots[graph.right[edges], shared]
    weight = graph.weight[edges]
    with np.errstate(over="ignore"):
        total = float(gain.sum() + weight.sum())
    if not math.isfinite(total):
        raise ValueError(f"beta: expected less, got {beta}: beta p sums to infinity")
    unit = math.ldexp(1.0, math.frexp(total)[1] - 52) if total else 1.0
    return Problem(
        instances=len(keywords),
        kept=kept,
        unit=unit,
        tagged=tagged,
        starts=np.concatenate([[0], np.cumsum(counts[tagged])]),
        category=category,
        gain=np.rint(gain / unit),
        left=left,
        right=right,
        weight=np.rint(weight / unit),
    )


def check_probabilities(probabilities: npt.NDArray[np.floating]) -> None:
    """Raise ValueError, with the row, where one is outside [0, 1]."""
    wrong = ~((probabilities >= 0) & (probabilities <= 1))  # true for nan too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = probabilities[row, column]
        raise ValueError(f"probabilities: row {row} has {value}; expected 0 to 1")


def kept_count(retention: float, instances: int) -> int:
    """The floor of r n, of the decimal number r as it is written: of 0.29 and 100 it is 29.

    In floating point 0.29 * 100 is less than 29.

    By eq. 8 r = 1 tags every instance and r = 0 none; the paper's table 2b says that r = 0 filters
    nothing, but lists r = 1 for that.

    Raises:
        ValueError: r outside [0, 1].
    """
    if not 0 <= retention <= 1:
        raise ValueError(f"retention: expected 0 to 1, got {retention}")
    return math.floor(Fraction(str(float(retention))) * instances)


def keyword_table(keywords: Iterable[Sequence[int]], classes: int) -> Bools:
    """The keywords of each instance's image as a table; one named twice counts once.

    Args:
        keywords: of each instance, categories in 0..C-1; none for an image without keywords.
        classes: C.

    Returns:
        bool [n, C].

    Raises:
        ValueError: a keyword outside the classes.
    """
    listed = [list(each) for each in keywords]
    table = np.zeros((len(listed), classes), dtype=bool)
    for row, each in enumerate(listed):
        for keyword in each:
            if not 0 <= keyword < classes:
                raise ValueError(f"keywords: row {row} has {keyword}; expected 0 to {classes - 1}")
            table[row, keyword] = True
    return table
