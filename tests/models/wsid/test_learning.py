import torch

from models.wsid.learning import Batch, all_losses, averaged, saliency_loss
from models.wsid.subitizing import Counting
from tests.models.wsid.test_network import network

COUNTING = Counting(look_ups=20, short=2.5, least_area=0.0)


def terms(batch, subitizing=1.0):
    net = network()
    torch.nn.init.constant_(net.saliency[-1].bias, 4.0)  # all is salient
    return all_losses(net, batch, radius=3, subitizing=subitizing, counting=COUNTING)


def batch(label, count):
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 32, 32, generator=generator)
    labels = torch.full((2, 8, 8), 255, dtype=torch.uint8)
    labels[:, 2:6, 2:6] = label
    return Batch(images, labels, torch.tensor([count, count]))


def test_the_counts_teach_only_where_there_is_one_and_labels_where_there_are_any():
    counted = terms(batch(255, 30))
    assert counted["saliency"] == counted["boundaries"] == counted["centroids"] == 0
    assert counted["count"] > 0
    assert counted["count"].requires_grad
    labelled = terms(batch(1, -1))
    assert labelled["count"] == 0
    assert labelled["saliency"] > 0 < labelled["centroids"]
    assert "count" not in terms(batch(1, 2), subitizing=0.0)
    assert terms(batch(255, 30), subitizing=0.5)["count"] == counted["count"] / 2


def test_the_saliency_branch_learns_what_is_an_object_whatever_its_class():
    net = network().eval()
    first, second = (saliency_loss(net, batch(label, -1))["saliency"] for label in (1, 2))
    assert first == second != saliency_loss(net, batch(0, -1))["saliency"]


def test_weights_are_the_mean_of_all_rounds():
    """r / (r + 1) of the former average keeps the first round's share equal to each other's."""
    states = [{"w": torch.tensor([value]), "n": torch.tensor(7)} for value in (9.0, 1.0, 4.0, 7.0)]
    average = averaged({}, states[0], 0)
    assert average["w"] == 9
    average = averaged(average, states[1], 1)
    assert average["w"] == 1, "what was learned from the first labels does not count"
    average = averaged(average, states[2], 2)
    torch.testing.assert_close(average["w"], torch.tensor([2 / 3 * 1 + 1 / 3 * 4]))
    average = averaged(average, states[3], 3)
    torch.testing.assert_close(average["w"], torch.tensor([3 / 4 * 2 + 1 / 4 * 7]))
    assert average["n"] == 7
