import pytest
import torch

from models.backbones import freeze_batch_norm
from models.detection import DetectorSizes, Targets
from models.instance_views import mask_boxes
from models.irsr.branch import Ranking, places
from models.irsr.network import RankingSpec, known_cross_entropy
from models.irsr.parts import FusedMasks, at_stride
from models.irsr.views import RankedView, as_ranked_batch, ranked_view

SIZE = (64, 96)
SIZES = DetectorSizes(16, 16, 16, 40, 16, 5, 0.5)
CUES = ("relation", "local", "global", "person")
RANKING = {
    "variant": "paper", "reasoning": "graphs", "cues": CUES, "subgraphs": 4, "global_nodes": 3,
    "position": False, "loss": "pairs", "gamma": 1.0, "ranks": 8,
}  # fmt: skip


def built(**changes):
    torch.manual_seed(0)
    ranking = Ranking(**(RANKING | changes))
    return RankingSpec("mobilenet_v2", 1.0, SIZE, SIZES, ranking).build()


def objects(*boxes, size=SIZE):
    masks = torch.zeros(len(boxes), *size, dtype=torch.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = 1
    return Targets(mask_boxes(masks), torch.ones(len(boxes), dtype=torch.int64), masks)


TARGETS = [objects((8, 8, 30, 30), (34, 20, 90, 60)), objects((10, 4, 60, 40)), objects()]
RANKS = [torch.tensor([2, 1]), torch.tensor([1]), torch.zeros(0, dtype=torch.int64)]
PERSONS = [torch.tensor([1, 0]), torch.tensor([-1]), torch.zeros(0, dtype=torch.int64)]
CASES = {
    "all graphs": {},
    "as released": {"variant": "released"},
    "baseline I": {"reasoning": "concatenation", "cues": ()},
    "baseline II": {"reasoning": "concatenation", "cues": CUES[1:]},
    "instances alone": {"cues": ("relation",), "loss": "classes"},
    "positions": {"position": True, "cues": ()},
}


@pytest.mark.parametrize("name", CASES)
def test_every_switch_trains_all_its_weights_and_ranks_what_it_finds(name):
    network = built(**CASES[name])
    freeze_batch_norm(network.levels.pyramid)
    images = torch.rand(3, 3, *SIZE)
    terms = network(images, TARGETS, RANKS, PERSONS)
    assert set(terms) == {
        "proposals", "proposal_boxes", "classes", "boxes", "masks", "persons", "ranking"
    }  # fmt: skip
    sum(terms.values()).backward()
    without = [
        name
        for name, each in network.named_parameters()
        if each.requires_grad and each.grad is None
    ]
    assert without == []
    network.eval()
    found, saliency = network.detect(torch.rand(3, 50, 70), 0.0)
    assert len(found.boxes) == len(saliency) > 0
    assert found.masks.shape == (len(saliency), 50, 70)
    assert (found.boxes[:, 2:] <= torch.tensor([70, 50])).all()
    none, nothing = network.detect(torch.rand(3, 50, 70), 1.0)
    assert len(none.boxes) == len(nothing) == 0


def test_what_is_found_and_given_again_is_ranked_alike():
    network, image = built().eval(), torch.rand(3, *SIZE)
    found, saliency = network.detect(image, 0.0)
    torch.testing.assert_close(network.saliency(image, found.boxes), saliency)
    wide = torch.nn.functional.interpolate(image[None], scale_factor=2.0)[0]
    assert network.saliency(wide, 2 * found.boxes).shape == saliency.shape
    assert network.saliency(image, found.boxes[:0]).shape == (0,)


def test_the_paper_ranks_what_is_left_and_the_public_code_leaves_out_what_is_ranked():
    image = torch.rand(3, *SIZE)
    for variant in ("paper", "released"):
        network = built(variant=variant, cues=("relation",)).eval()
        for parameter in network.branch.graphs.parameters():
            torch.nn.init.normal_(parameter)
        every, _ = network.detect(image, 0.0)
        least = every.scores.median().item()
        few, saliency = network.detect(image, least)
        assert 0 < len(few.boxes) < len(every.boxes)
        ranked = network.saliency(image, every.boxes)[every.scores >= least]
        alone = network.saliency(image, few.boxes)
        torch.testing.assert_close(saliency, alone if variant == "paper" else ranked)
        assert not torch.allclose(alone, ranked)


def test_it_learns_what_it_is_shown():
    network = built()
    freeze_batch_norm(network.levels)
    target = objects((6, 8, 40, 50), (52, 12, 88, 56))
    image = torch.full((3, *SIZE), 0.3)
    image[0, target.masks[0] > 0], image[2, target.masks[1] > 0] = 0.9, 0.9
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    course = []
    for _ in range(14):
        terms = network(
            image[None].repeat(2, 1, 1, 1), [target] * 2, [torch.tensor([2, 1])] * 2,
            [torch.tensor([0, 1])] * 2,
        )  # fmt: skip
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        course.append({name: term.item() for name, term in terms.items()})
    assert course[-1]["ranking"] < 0.1 < course[0]["ranking"]
    for name in ("masks", "persons", "boxes"):
        assert course[-1][name] < 0.8 * course[0][name]
    less, more = network.eval().saliency(image, target.boxes)
    assert more > less


def test_what_is_not_known_of_persons_teaches_nothing():
    logits = torch.zeros(3, 2, requires_grad=True)
    known_cross_entropy(logits, torch.tensor([1, -1, 0])).backward()
    assert logits.grad.abs().sum(dim=1).tolist() == [0.5, 0, 0.5]
    assert known_cross_entropy(logits, torch.full((3,), -1)).item() == 0


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_cells_of_the_ranking_map_stand_for_every_eighth_pixel(stride):
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    slope = (rows + 2 * columns)[None, None]
    found = at_stride(slope[..., ::stride, ::stride], stride)
    expected = slope[..., ::8, ::8]
    inner = slice(None), slice(None), slice(0, 5), slice(0, 9)  # the last ones repeat the border
    torch.testing.assert_close(found[inner], expected[inner])
    assert found.shape == expected.shape


def test_a_place_is_told_by_centre_distance_and_size():
    boxes = torch.tensor([[0.0, 0, 48, 32], [24, 16, 72, 48]])
    expected = torch.tensor([[-0.5, -0.5, 0.5**0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0.5, 0.5, 0.5]])
    torch.testing.assert_close(places(boxes, SIZE), expected)


def test_a_view_brings_objects_along_and_drops_those_too_small_to_see():
    targets = objects((10, 20, 50, 60), (80, 0, 84, 100), size=(128, 192))
    image = (50 + 150 * targets.masks[0]).expand(3, -1, -1).contiguous()
    ranks, persons = torch.tensor([1, 2]), torch.tensor([0, 1])
    seen = set()
    for seed in range(4):
        view = ranked_view(
            image, targets, ranks, persons, size=SIZE, jitter=(0, 0, 0, 0),
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        assert view.image.shape == (3, *SIZE)
        assert view.ranks.tolist() == [1], "the other is 2 pixels wide"
        torch.testing.assert_close(mask_boxes(view.targets.masks), view.targets.boxes)
        bright = (view.image[0] > 0.5) == (view.targets.masks[0] > 0)
        assert bright.float().mean() > 0.95
        seen.add(view.targets.boxes[0, 0].item())
    assert seen == {5.0, 71.0}


def test_a_batch_gives_back_what_belongs_to_each_image():
    views = [
        RankedView(torch.zeros(3, *SIZE), *parts)
        for parts in zip(TARGETS, RANKS, PERSONS, strict=True)
    ]
    batch = as_ranked_batch(views)
    for given, values in ((RANKS, batch.ranks), (PERSONS, batch.persons)):
        assert [own.tolist() for own in batch.own(values)] == [each.tolist() for each in given]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"subgraphs": 3}, "subgraphs: expected a divisor of 16 features, got 3"),
        ({"reasoning": "concatenation"}, "cues: expected no relation without graphs"),
    ],
)
def test_numbers_that_do_not_go_together_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        built(**changes)


def test_a_pyramid_that_the_mask_head_cannot_norm_is_named():
    with pytest.raises(ValueError, match="pyramid: expected a multiple of 16, got 24"):
        FusedMasks(24, 14)
