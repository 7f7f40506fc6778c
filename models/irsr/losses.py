"""What the ranking branch learns from the true order of an image's instances (IRSR 4.3).

Ranks count from 1, the most salient; a larger score is more salient. The public code stores ranks
the other way round; for ranks 1 to N without ties and gamma 1 its loss has the same value.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def ranking_loss(scores: Tensor, ranks: Tensor, gamma: float) -> Tensor:
    """Weighted logistic loss of all pairs of instances (eq. 12, 13), a scalar.

        L = sum_q  b_q log(1 + exp(s_q2 - s_q1)),   b_q = |r_q1 - r_q2|^gamma / sum over all pairs

    over the pairs whose first instance ranks above the second.

    # differs from the paper: |r_q1 - r_q2|, whose difference is negative as printed.

    Instances of one rank are no pair: nothing is said of their order. Without a pair, such as of
    one instance, the loss is 0 and so is its gradient. softplus keeps it finite however wrong.

    Args:
        scores: (N), N >= 0.
        ranks: (N), any real numbers, the smallest first.
        gamma: 0 weighs all pairs alike (eq. 11); the larger, the more count distant ranks.
    """
    apart = (ranks[None, :] - ranks[:, None]).to(scores.dtype)  # [i, j]: > 0 where i is first
    first, second = torch.where(apart > 0)
    if not len(first):
        return scores.sum() * 0
    weights = apart[first, second] ** gamma
    losses = F.softplus(scores[second] - scores[first])
    return (weights * losses).sum() / weights.sum()


def rank_cross_entropy(logits: Tensor, ranks: Tensor) -> Tensor:
    """Each rank as a class (Siris et al.), the mean over the instances: what table 5 compares with.

    Args:
        logits: (N, R), of rank 1 to R.
        ranks: int64 (N); those beyond R count as R. Instances of one rank are of one class.
    """
    if not len(ranks):
        return logits.sum() * 0
    return F.cross_entropy(logits, ranks.clamp(max=logits.shape[-1]) - 1)


def classified_scores(logits: Tensor) -> Tensor:
    """Scores (N) from the logits (N, R) of ranks: the expected rank, its sign turned.

    The most likely rank alone would tie often; two instances may well have the same.
    """
    ranks = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    return -(logits.softmax(dim=-1) @ ranks)
