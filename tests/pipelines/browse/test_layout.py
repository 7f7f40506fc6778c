from itertools import pairwise

from pipelines.browse.layout import draw_graph
from pipelines.look.revisions import Record


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


def test_groups_that_read_one_another_end() -> None:
    circle = stages(
        record("a@1", "data/a1"),
        record("b@1", "data/b1", "data/a1"),
        record("a@2", "data/a2", "data/b1"),
        record("b@2", "data/b2", "data/a2"),
    )
    assert {card.group for card in draw_graph(circle).cards} == {"a", "b"}
    assert draw_graph({}).cards == ()
