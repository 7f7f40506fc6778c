"""Random instances: features, probabilities and keywords, and eq. 8 of them."""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from models.tag_assignment.problem import Problem, build_problem
from models.tag_assignment.similarity import Symmetrise, similarity_graph


@dataclass(frozen=True)
class Drawn:
    """Instances of clusters that share features; a third of the keywords mislead."""

    features: npt.NDArray[np.float64]
    probabilities: npt.NDArray[np.float64]
    keywords: npt.NDArray[np.bool_]
    beta: float
    kept: int
    k: int
    symmetrise: Symmetrise

    def problem(self) -> Problem:
        graph = similarity_graph(self.features, self.k, symmetrise=self.symmetrise)
        return build_problem(
            self.probabilities, self.keywords, graph, beta=self.beta, kept=self.kept
        )


def draw_tiny(seed: int) -> Drawn:
    """1 to 8 instances of at most 3 classes; every other one is full of ties."""
    generator = np.random.default_rng(seed)
    nodes, classes = int(generator.integers(1, 9)), int(generator.integers(1, 4))
    if seed % 2:
        features = generator.standard_normal((nodes, 3))
        probabilities = generator.random((nodes, classes))
    else:
        features = generator.integers(-1, 3, (nodes, 2)).astype(np.float64)
        features[~features.any(axis=1)] = 1
        probabilities = generator.integers(0, 3, (nodes, classes)) / 2
    keywords = generator.random((nodes, classes)) < 0.6
    kept = int(generator.integers(0, keywords.any(axis=1).sum() + 1))
    symmetrise = cast(Symmetrise, generator.choice(["union", "mutual", "directed"]))
    beta = float(generator.choice([0, 1, 3, 30]))
    k = int(generator.integers(1, 4))
    return Drawn(features, probabilities, keywords, beta, kept, k, symmetrise)


def draw(
    nodes: int,
    seed: int,
    *,
    beta: float = 30,
    retention: float = 0.95,
    k: int = 3,
    classes: int = 6,
) -> Drawn:
    """Instances around their class's direction, with one to three keywords, all with one."""
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((classes, 8))
    truth = generator.integers(0, classes, nodes)
    features = directions[truth] + 1.2 * generator.standard_normal((nodes, 8))
    keywords = generator.random((nodes, classes)) < 0.8 / classes
    keywords[np.arange(nodes), truth] = True
    probabilities = generator.random((nodes, classes)) * np.where(keywords, 1, 0.5)
    return Drawn(features, probabilities, keywords, beta, int(retention * nodes), k, "union")
