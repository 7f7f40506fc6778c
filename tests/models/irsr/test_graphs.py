from itertools import product

import pytest
import torch

from models.irsr.graphs import (
    GraphReasoning,
    enlarged,
    global_message,
    local_message,
    relation_message,
)
from tests.reference import irsr as reference

CUES = ("relation", "local", "global", "person")
VARIANTS = ("paper", "released")


def drawn(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


def parts(seed, instances, nodes):
    """Queries, keys, values and weights of 3 channels."""
    sizes = ((instances, 3), (nodes, 3), (nodes, 3), (6,))
    return [drawn(10 * seed + index, *size) for index, size in enumerate(sizes)]


def slow(queries, keys, values, weights, *, softmax=False):
    queries, keys, values, weights = (part.tolist() for part in (queries, keys, values, weights))
    messages = [
        reference.message(query, keys, values, weights, softmax=softmax) for query in queries
    ]
    return torch.tensor(messages, dtype=torch.float64)


@pytest.mark.parametrize(("seed", "count"), [(0, 1), (1, 2), (2, 5)])
def test_instances_hear_from_all_instances(seed, count):
    given = parts(seed, count, count)
    torch.testing.assert_close(relation_message(*given), slow(*given))


@pytest.mark.parametrize(("seed", "count"), [(0, 1), (1, 4)])
def test_instances_hear_from_their_own_surroundings_alone(seed, count):
    given = parts(seed, count, count)
    queries, keys, values, weights = (part.tolist() for part in given)
    expected = [reference.local(*each, weights) for each in zip(queries, keys, values, strict=True)]
    torch.testing.assert_close(local_message(*given), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("seed", "variant"), list(product(range(2), VARIANTS)))
def test_instances_hear_from_every_cell(seed, variant):
    given = parts(seed, 3, 9)
    expected = slow(*given, softmax=variant == "released")
    torch.testing.assert_close(global_message(*given, variant), expected)


def test_messages_have_the_gradients_of_their_equations():
    alone, wide = parts(3, 3, 3), parts(4, 2, 4)
    assert torch.autograd.gradcheck(relation_message, alone)
    assert torch.autograd.gradcheck(local_message, alone)
    for variant in VARIANTS:
        assert torch.autograd.gradcheck(lambda *each: global_message(*each, variant), wide)  # noqa: B023


def test_subgraphs_side_by_side_are_each_its_own():
    several = [torch.stack(parts) for parts in zip(parts(5, 4, 4), parts(6, 4, 4), strict=True)]
    for index, each in enumerate((parts(5, 4, 4), parts(6, 4, 4))):
        for message in (relation_message, local_message):
            torch.testing.assert_close(message(*several)[index], message(*each))


def weights_of(layer):
    return layer.weight.detach().tolist()


def updated(reasoning, instances, local, cells, persons):
    """Eq. 10, subgraph by subgraph, from the module's own weights."""
    width, subgraphs = len(instances[0]), reasoning.graphs["relation"].subgraphs
    narrow = width // subgraphs
    nodes = {"relation": instances, "local": local, "global": cells}
    result = [list(instance) for instance in instances]
    for cue, graph in reasoning.graphs.items():
        for k in range(subgraphs):
            rows = slice(k * narrow, (k + 1) * narrow)
            query, key, value = (weights_of(each)[rows] for each in
                                 (graph.query, graph.key, graph.value))  # fmt: skip
            weights = graph.weights[k].tolist()
            keys = [reference.project(key, node) for node in nodes[cue]]
            values = [reference.project(value, node) for node in nodes[cue]]
            for i, instance in enumerate(instances):
                asked = reference.project(query, instance)
                if cue == "local":
                    heard = reference.local(asked, keys[i], values[i], weights)
                else:
                    heard = reference.message(asked, keys, values, weights)
                for d, change in enumerate(reference.project(graph.update[k].tolist(), heard)):
                    result[i][k * narrow + d] += change
    for i, person in enumerate(persons):
        for d, change in enumerate(reference.project(weights_of(reasoning.prior.value), person)):
            result[i][d] += reasoning.prior.share[d // narrow].item() * change
    return result


def test_features_are_updated_by_the_messages_of_all_graphs_and_subgraphs():
    torch.manual_seed(0)
    reasoning = GraphReasoning(CUES, 4, 3, 2, "paper").double()
    torch.nn.init.normal_(reasoning.prior.share)
    instances, local, persons = (drawn(seed, 3, 4) for seed in range(3))
    cells = drawn(9, 3, 2, 2)
    expected = updated(
        reasoning, instances.tolist(), local.tolist(), cells.flatten(1).T.tolist(), persons.tolist()
    )
    found = reasoning(instances, local, cells, persons)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("variant", "cue"), list(product(VARIANTS, CUES)))
def test_each_graph_is_a_switch_and_learns(variant, cue):
    torch.manual_seed(0)
    reasoning = GraphReasoning((cue,), 8, 5, 4, variant).double()
    instances, local, persons = (drawn(seed, 3, 8) for seed in range(3))
    cells = drawn(9, 5, 2, 2)
    for name, parameter in reasoning.named_parameters():
        if name.endswith("share"):  # which begin at 0 in the public code
            torch.nn.init.ones_(parameter)
    sources = {"relation": instances, "local": local, "global": cells, "person": persons}
    reasoning(instances, local, cells, persons).square().sum().backward()
    assert all(parameter.grad is not None for parameter in reasoning.parameters())
    for name, source in sources.items():
        assert (source.grad is not None) == (name in (cue, "relation"))


def test_the_public_code_begins_as_the_relation_graph_alone_and_ends_in_a_relu():
    torch.manual_seed(0)
    reasoning = GraphReasoning(CUES, 8, 5, 4, "released").double()
    instances, local, persons = (drawn(seed, 3, 8) for seed in range(3))
    before = reasoning(instances, local, drawn(9, 5, 2, 2), persons)
    other = reasoning(instances, 2 * local, drawn(10, 5, 2, 2), 3 * persons)
    torch.testing.assert_close(before, other)
    assert before.min() >= 0


def test_without_graphs_features_stay_and_k_divides_their_number():
    instances = drawn(0, 2, 8)
    for variant in VARIANTS:
        reasoning = GraphReasoning((), 8, 5, 4, variant)
        assert reasoning(instances, instances, drawn(1, 5, 2, 2), instances) is instances
    with pytest.raises(ValueError, match="subgraphs: expected a divisor of 8 features, got 3"):
        GraphReasoning(CUES, 8, 5, 3, "paper")


def test_the_order_of_the_instances_does_not_matter():
    torch.manual_seed(0)
    reasoning = GraphReasoning(CUES, 8, 5, 4, "paper").double()
    instances, local, persons = (drawn(seed, 4, 8) for seed in range(3))
    order, cells = torch.tensor([2, 0, 3, 1]), drawn(9, 5, 3, 3)
    found = reasoning(instances, local, cells, persons)
    again = reasoning(instances[order], local[order], cells, persons[order])
    torch.testing.assert_close(again, found[order])


def test_a_box_is_enlarged_to_twice_its_area_within_the_image():
    boxes = torch.tensor([[40.0, 30, 60, 40], [0, 0, 20, 20], [0, 0, 100, 80]])
    around = enlarged(boxes, (80, 100))
    wide, high = 10 * 2**0.5, 5 * 2**0.5
    assert around[0].tolist() == pytest.approx([50 - wide, 35 - high, 50 + wide, 35 + high])
    assert around[1].tolist() == pytest.approx([0, 0, 10 + wide, 10 + wide])
    assert around[2].tolist() == [0, 0, 100, 80]
