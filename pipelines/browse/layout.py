"""Where the stages stand in the picture of the graph: sources on top, each below what it reads.

Links pass between the cards, never behind them: one that reaches further than the next row goes
through the rows between in a lane, which takes its place in a row like a card. All links that leave
a card share its lane.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

from pipelines.graph.revisions import Record, upstream

WIDTH, GAP, ROW_GAP = 208, 22, 42
SINGLE, HEAD, LINE = 76, 58, 17  # heights: of one stage's card, of a group's, of each member
LANE = 8  # the width of what passes between cards
SWEEPS = 6  # down and up again, until cards and lanes stand near what they are linked with


@dataclass(frozen=True)
class Card:
    """One stage, or all members of a foreach; x and y of its upper left corner, in pixels."""

    group: str
    members: tuple[str, ...]
    x: float
    y: float
    height: float


@dataclass(frozen=True)
class Link:
    """`end` reads what `start` makes.

    Attributes:
        start: a group of stages.
        end: another.
        path: as SVG has it.
        is_implied: there is a longer way from one to the other, so this one need not be seen.
    """

    start: str
    end: str
    path: str
    is_implied: bool


@dataclass(frozen=True)
class Picture:
    """The cards, and the links between them as SVG paths."""

    width: float
    height: float
    cards: tuple[Card, ...]
    links: tuple[Link, ...]


#: A card (its group), or the lane of a group in a row further down.
_Node = tuple[str, int]


def draw_graph(stages: Mapping[str, Record]) -> Picture:
    """Lay out the stages of a revision; nothing is read from the disk."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in stages:
        groups[name.partition("@")[0]].append(name)
    above = upstream(stages)
    reads = {
        group: sorted(
            {name.partition("@")[0] for member in names for name in above[member]} - {group}
        )
        for group, names in groups.items()
    }
    reads = _without_circles(reads)
    levels = _levels(reads)
    rows, ties = _rows(levels, reads)
    middle = _places(rows, ties)
    left = min((x - _width(node) / 2 for node, x in middle.items()), default=0) - GAP
    right = max((x + _width(node) / 2 for node, x in middle.items()), default=0) + GAP
    cards: dict[str, Card] = {}
    gaps: list[tuple[float, float]] = []  # below each row
    y: float = GAP
    for row in rows:
        names = [group for group, lane in row if not lane]
        for group in names:
            x = middle[group, 0] - left - WIDTH / 2
            cards[group] = Card(group, tuple(groups[group]), x, y, _height(groups[group]))
        bottom = y + max(cards[group].height for group in names)
        y = bottom + ROW_GAP
        gaps.append((bottom, y))
    links = []
    for end, starts in reads.items():
        for start in starts:
            first, last = levels[start], levels[end]
            lanes = [middle[start, lane] - left for lane in range(1, last - first)]
            path = _path(cards[start], cards[end], lanes, gaps[first:last])
            links.append(Link(start, end, path, _is_implied(start, end, reads)))
    return Picture(right - left, y - ROW_GAP + GAP, tuple(cards.values()), tuple(links))


def _without_circles(reads: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Groups whose members read one another keep what comes of the earlier ones alone."""
    order = list(reads)
    circles = nx.strongly_connected_components(nx.DiGraph(reads))
    circle_of = {group: circle for circle in circles for group in circle}
    return {
        end: [
            start
            for start in starts
            if start not in circle_of[end] or order.index(start) < order.index(end)
        ]
        for end, starts in reads.items()
    }


def _is_implied(start: str, end: str, reads: Mapping[str, Sequence[str]]) -> bool:
    """Whether `end` also reads something that comes of `start`."""
    others = nx.DiGraph(reads)
    others.remove_edge(end, start)
    return bool(nx.has_path(others, end, start))


def _height(members: Sequence[str]) -> float:
    return SINGLE if len(members) == 1 else HEAD + LINE * len(members) + 6


def _width(node: _Node) -> float:
    return LANE if node[1] else WIDTH


def _levels(reads: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """The row of every group, below all that it reads."""
    rows = nx.topological_generations(nx.DiGraph(reads).reverse())
    return {group: row for row, groups in enumerate(rows) for group in groups}


def _rows(
    levels: Mapping[str, int], reads: Mapping[str, Sequence[str]]
) -> tuple[list[list[_Node]], list[tuple[_Node, _Node]]]:
    """The cards and lanes of each row, and which of two neighbouring rows are linked."""
    rows: list[list[_Node]] = [[] for _ in set(levels.values())]
    ties: list[tuple[_Node, _Node]] = []
    lanes: dict[str, int] = defaultdict(int)
    for group, level in levels.items():
        rows[level].append((group, 0))
    for end, starts in reads.items():
        for start in starts:
            between = levels[end] - levels[start] - 1
            lanes[start] = max(lanes[start], between)
            if between >= 0 and not _is_implied(start, end, reads):
                ties.append(((start, between), (end, 0)))
    for group, count in lanes.items():
        for lane in range(1, count + 1):
            rows[levels[group] + lane].append((group, lane))
            ties.append(((group, lane - 1), (group, lane)))
    return rows, ties


def _places(rows: Sequence[list[_Node]], ties: Sequence[tuple[_Node, _Node]]) -> dict[_Node, float]:
    """The x of every node's middle; sorts each row from left to right."""
    linked: dict[bool, dict[_Node, list[_Node]]] = {
        True: defaultdict(list),
        False: defaultdict(list),
    }
    for upper, lower in ties:
        linked[True][lower].append(upper)
        linked[False][upper].append(lower)
    middle: dict[_Node, float] = {}
    for row in rows:
        _set_row(row, dict.fromkeys(row, 0.0), middle)
    for sweep in range(SWEEPS):
        is_down = sweep % 2 == 0
        for row in rows if is_down else reversed(rows):
            wishes = {}
            for node in row:
                neighbours = [middle[other] for other in linked[is_down][node]]
                wishes[node] = sum(neighbours) / len(neighbours) if neighbours else middle[node]
            row.sort(key=lambda node: wishes[node])
            _set_row(row, wishes, middle)
    return middle


def _set_row(
    row: Sequence[_Node], wishes: Mapping[_Node, float], middle: dict[_Node, float]
) -> None:
    """Put the nodes in their order as near to their wishes, by least squares, as they have room."""
    steps = [
        (_width(left) + _width(right)) / 2 + (GAP if _width(left) == _width(right) else GAP / 2)
        for left, right in itertools.pairwise(row)
    ]
    offsets = np.concatenate([[0.0], np.cumsum(steps)])
    wished = np.array([wishes[node] for node in row])
    placed = isotonic_regression(wished - offsets).x + offsets
    middle.update(zip(row, placed.tolist(), strict=True))


def _path(
    start: Card,
    end: Card,
    lanes: Sequence[float],
    gaps: Sequence[tuple[float, float]],
) -> str:
    """Straight down beside the cards, bent only in the gaps between the rows.

    Args:
        start: above.
        end: below.
        lanes: x in each row between the two.
        gaps: upper and lower y of each gap between them.
    """
    x = start.x + WIDTH / 2
    path = f"M{x:.0f} {start.y + start.height:.0f}"
    for (upper, lower), to in zip(gaps, [*lanes, end.x + WIDTH / 2], strict=True):
        bend = (upper + lower) / 2
        path += f"V{upper:.0f}C{x:.0f} {bend:.0f} {to:.0f} {bend:.0f} {to:.0f} {lower:.0f}"
        x = to
    return path
