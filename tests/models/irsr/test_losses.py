import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.irsr.losses import classified_scores, rank_cross_entropy, ranking_loss
from tests.reference import irsr as reference

NUMBERS = st.floats(-20, 20)


@settings(max_examples=20)
@given(data=st.data(), gamma=st.sampled_from([0.0, 0.25, 1.0, 1.5]))
def test_pairs_are_weighted_by_the_distance_of_their_ranks(data, gamma):
    ranks = data.draw(st.lists(st.integers(1, 5), max_size=6), label="ranks")  # with ties
    scores = [data.draw(NUMBERS) for _ in ranks]
    found = ranking_loss(torch.tensor(scores, dtype=torch.float64), torch.tensor(ranks), gamma)
    assert found.item() == pytest.approx(reference.ranking_loss(scores, ranks, gamma))


@settings(max_examples=10)
@given(order=st.permutations(range(1, 6)), scores=st.lists(NUMBERS, min_size=5, max_size=5))
def test_the_public_code_has_the_same_value_of_ranks_without_ties(order, scores):
    ascending = [6 - rank for rank in order]
    found = ranking_loss(torch.tensor(scores, dtype=torch.float64), torch.tensor(order), 1.0)
    assert found.item() == pytest.approx(reference.released_ranking_loss(scores, ascending))


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_the_ranking_loss_has_the_gradient_of_its_equation(gamma):
    scores = torch.linspace(-2, 2, 4, dtype=torch.float64, requires_grad=True)
    ranks = torch.tensor([2, 1, 3, 3])
    assert torch.autograd.gradcheck(lambda each: ranking_loss(each, ranks, gamma), (scores,))


@pytest.mark.parametrize("ranks", [[], [1], [2, 2, 2]])
@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_without_a_pair_the_loss_is_zero_and_teaches_nothing(ranks, gamma):
    scores = torch.ones(len(ranks), requires_grad=True)
    loss = ranking_loss(scores, torch.tensor(ranks), gamma)
    loss.backward()
    assert loss.item() == 0
    assert scores.grad.tolist() == [0] * len(ranks)


def test_a_pair_that_is_quite_wrong_stays_finite():
    scores = torch.tensor([-500.0, 500.0], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor([1, 2]), 1.0)
    loss.backward()
    assert loss.item() == 1000
    assert scores.grad.tolist() == [-1, 1]


def test_ranks_as_classes():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    ranks = torch.tensor([2, 1, 3, 7])
    loss = rank_cross_entropy(logits, ranks)
    assert loss.item() == pytest.approx(
        reference.rank_cross_entropy(logits.tolist(), ranks.tolist())
    )
    assert torch.autograd.gradcheck(lambda each: rank_cross_entropy(each, ranks), (logits,))
    assert rank_cross_entropy(logits[:0], ranks[:0]).item() == 0
    sure = torch.eye(3) * 50
    torch.testing.assert_close(classified_scores(sure), torch.tensor([-1.0, -2.0, -3.0]))
    between = torch.tensor([[0.0, 0.0, -50.0]])
    assert -2 < classified_scores(between).item() < -1
