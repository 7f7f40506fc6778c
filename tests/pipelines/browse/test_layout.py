import re
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.browse.layout import draw_graph
from pipelines.graph.revisions import Record, upstream


def record(name: str, out: str, *deps: str) -> Record:
    return Record(name, "true", dict.fromkeys(deps, "0"), {}, {}, {}, {out: "0"}, 1)


def stages(*records: Record) -> dict[str, Record]:
    return {found.name: found for found in records}


LINE = stages(
    record("draw", "data/draw"),
    record("read", "data/read/table.parquet", "data/draw"),
    record("refine@a", "data/refine/a", "data/read/table.parquet"),
    record("refine@b", "data/refine/b", "data/read/table.parquet", "data/refine/a"),
    record("report", "data/report", "data/refine", "data/read/table.parquet"),
)


def test_members_share_a_card_and_each_card_is_below_what_it_reads() -> None:
    picture = draw_graph(LINE)
    cards = {card.group: card for card in picture.cards}
    assert cards["refine"].members == ("refine@a", "refine@b")
    assert cards["draw"].y < cards["read"].y < cards["refine"].y < cards["report"].y
    for upper, lower in (("draw", "read"), ("read", "refine"), ("refine", "report")):
        assert cards[upper].y + cards[upper].height < cards[lower].y


def test_cards_lie_inside_the_picture_and_apart() -> None:
    wide = stages(*(record(f"s{n}", f"data/s{n}") for n in range(7)))
    picture = draw_graph(wide)
    places = sorted((card.x, card.x + 208) for card in picture.cards)
    assert places[0][0] >= 0
    assert places[-1][1] <= picture.width
    assert all(left[1] < right[0] for left, right in pairwise(places))


def test_a_link_with_a_longer_way_round_is_implied() -> None:
    links = {(link.start, link.end): link.is_implied for link in draw_graph(LINE).links}
    assert links == {
        ("draw", "read"): False,
        ("read", "refine"): False,
        ("read", "report"): True,
        ("refine", "report"): False,
    }


def test_of_groups_that_read_one_another_the_first_stands_above() -> None:
    line = stages(
        record("refine@labels", "data/refine/labels"),
        record("final", "data/final", "data/refine/labels"),
        record("network", "data/network", "data/final"),
        record("refine@network", "data/refine/network", "data/network"),
    )
    picture = draw_graph(line)
    cards = {card.group: card.y for card in picture.cards}
    assert cards["refine"] < cards["final"] < cards["network"]
    assert {(link.start, link.end) for link in picture.links} == {
        ("refine", "final"),
        ("final", "network"),
    }


def test_groups_that_read_one_another_end() -> None:
    circle = stages(
        record("a@1", "data/a1"),
        record("b@1", "data/b1", "data/a1"),
        record("a@2", "data/a2", "data/b1"),
        record("b@2", "data/b2", "data/a2"),
    )
    assert {card.group for card in draw_graph(circle).cards} == {"a", "b"}
    assert draw_graph({}).cards == ()


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Record]:
    """Stages, some of them members of a group, that read any of those before them."""
    found: list[Record] = []
    for number in range(draw(st.integers(1, 14))):
        members = draw(st.integers(1, 4))
        others = [out for other in found for out in other.outs]
        chosen = (
            st.lists(st.sampled_from(others), max_size=4, unique=True) if others else st.just([])
        )
        group = []
        for member in range(members):
            name = f"s{number}@{member}" if members > 1 else f"s{number}"
            group.append(record(name, f"data/{name}", *draw(chosen)))
        found += group
    return stages(*found)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(graphs())
def test_no_line_passes_behind_a_card(graph: dict[str, Record]) -> None:
    picture = draw_graph(graph)
    for link in picture.links:
        for x, y in points(link.path):
            assert 0 <= x <= picture.width
            for card in picture.cards:
                inside = card.x < x < card.x + 208 and card.y + 0.5 < y < card.y + card.height - 0.5
                assert not inside, (link, card)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(graphs())
def test_no_two_cards_overlap_and_every_reading_has_its_line(graph: dict[str, Record]) -> None:
    picture = draw_graph(graph)
    for first, second in combinations(picture.cards, 2):
        beside = first.x + 208 <= second.x or second.x + 208 <= first.x
        assert beside or first.y + first.height < second.y or second.y + second.height < first.y
    expected = {
        (other.partition("@")[0], name.partition("@")[0])
        for name, above in upstream(graph).items()
        for other in above
    }
    assert {(link.start, link.end) for link in picture.links} == expected
    places = {card.group: card for card in picture.cards}
    for link in picture.links:
        first, *_, last = points(link.path)
        start, end = places[link.start], places[link.end]
        assert first == pytest.approx((start.x + 104, start.y + start.height), abs=1)
        assert last == pytest.approx((end.x + 104, end.y), abs=1)


def points(path: str) -> list[tuple[float, float]]:
    """Along an SVG path of M, V and C."""
    found: list[tuple[float, float]] = []
    for letter, text in re.findall(r"([MVC])([^MVC]*)", path):
        numbers = [float(number) for number in text.split()]
        if letter == "M":
            found.append((numbers[0], numbers[1]))
            continue
        x, y = found[-1]
        if letter == "V":
            corners = [(x, y), (x, y), (x, numbers[0]), (x, numbers[0])]
        else:
            corners = [(x, y), *zip(numbers[::2], numbers[1::2], strict=True)]
        for step in range(1, 21):
            t = step / 20
            shares = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            found.append(
                (
                    sum(share * at[0] for share, at in zip(shares, corners, strict=True)),
                    sum(share * at[1] for share, at in zip(shares, corners, strict=True)),
                )
            )
    return found
