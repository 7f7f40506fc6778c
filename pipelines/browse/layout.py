"""Where the stages stand in the picture of the graph: sources on top, each below what it reads."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.look.revisions import Record, upstream

WIDTH, GAP, ROW_GAP = 208, 22, 34
SINGLE, HEAD, LINE = 76, 58, 17  # heights: of one stage's card, of a group's, of each member


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


def draw_graph(stages: Mapping[str, Record]) -> Picture:
    """Lay out the stages of a revision; nothing is read from the disk."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in stages:
        groups[name.partition("@")[0]].append(name)
    above = upstream(stages)
    rows = _rows(groups, above)
    widest = max((len(row) for row in rows), default=1)
    width = widest * (WIDTH + GAP) + GAP
    cards: dict[str, Card] = {}
    y: float = GAP
    for row in rows:
        x = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        heights = [_height(groups[group]) for group in row]
        for group, height in zip(row, heights, strict=True):
            cards[group] = Card(group, tuple(groups[group]), x, y, height)
            x += WIDTH + GAP
        y += max(heights) + ROW_GAP
    reads = {
        group: sorted(
            {name.partition("@")[0] for member in names for name in above[member]} - {group}
        )
        for group, names in groups.items()
    }
    links = tuple(
        Link(start, end, _path(cards[start], cards[end]), _is_implied(start, end, reads))
        for end, starts in reads.items()
        for start in starts
    )
    return Picture(width, y - ROW_GAP + GAP, tuple(cards.values()), links)


def _is_implied(start: str, end: str, reads: Mapping[str, Sequence[str]]) -> bool:
    """Whether `end` also reads something that comes of `start`."""
    seen: set[str] = set()
    waiting = [other for other in reads[end] if other != start]
    while waiting:
        group = waiting.pop()
        if start in reads[group]:
            return True
        if group not in seen:
            seen.add(group)
            waiting += [other for other in reads[group] if other != end]
    return False


def _height(members: Sequence[str]) -> float:
    return SINGLE if len(members) == 1 else HEAD + LINE * len(members) + 6


def _rows(
    groups: Mapping[str, Sequence[str]], above: Mapping[str, Sequence[str]]
) -> list[list[str]]:
    """The groups by their depth; in a row, near to what they read."""
    depth: dict[str, int] = {}

    def deepen(name: str) -> int:
        if name not in depth:
            depth[name] = 0  # so that a circle ends
            depth[name] = max((deepen(other) + 1 for other in above[name]), default=0)
        return depth[name]

    found: dict[int, list[str]] = defaultdict(list)
    for group, members in groups.items():
        found[max(deepen(member) for member in members)].append(group)
    rows = [found[level] for level in sorted(found)]
    place: dict[str, float] = {}
    for row in rows:
        row.sort(key=lambda group: _wish(group, groups, above, place))
        place |= {group: (index + 0.5) / len(row) for index, group in enumerate(row)}
    return rows


def _wish(
    group: str,
    groups: Mapping[str, Sequence[str]],
    above: Mapping[str, Sequence[str]],
    place: Mapping[str, float],
) -> float:
    """The mean place, 0 to 1, of what a group reads."""
    parents = {name.partition("@")[0] for member in groups[group] for name in above[member]}
    wishes = [place[parent] for parent in parents if parent in place]
    return sum(wishes) / len(wishes) if wishes else 0.5


def _path(start: Card, end: Card) -> str:
    x0, y0 = start.x + WIDTH / 2, start.y + start.height
    x1, y1 = end.x + WIDTH / 2, end.y
    bend = max(abs(y1 - y0) / 2, ROW_GAP / 2)
    return f"M{x0:.0f} {y0:.0f}C{x0:.0f} {y0 + bend:.0f} {x1:.0f} {y1 - bend:.0f} {x1:.0f} {y1:.0f}"
