"""What Fan et al. (2018, table 1a) hold their graph against: no relations between instances.

Both tag every instance whose image has a keyword; probabilities and keywords as in `build_problem`.
"""

import numpy as np
import numpy.typing as npt

from models.tag_assignment.problem import REJECTED, Bools, Indices


def attention_tags(probabilities: npt.NDArray[np.floating], keywords: Bools) -> Indices:
    """The keyword of largest p for each instance: int64 [n], the smaller category of equal ones."""
    return np.where(
        keywords.any(1), np.where(keywords, probabilities, -1).argmax(1), REJECTED
    ).astype(np.int64)


def random_tags(keywords: Bools, generator: np.random.Generator) -> Indices:
    """One of its image's keywords for each instance, all as likely: int64 [n]."""
    return attention_tags(generator.random(keywords.shape), keywords)
