"""IRSR's graphs instance by instance and its losses pair by pair, on lists of numbers."""

import math


def dot(first, second):
    return sum(a * b for a, b in zip(first, second, strict=True))


def project(matrix, vector):
    """A matrix, row by row, times a vector."""
    return [dot(row, vector) for row in matrix]


def attention(weights, query, key):
    """w . [q || k]."""
    return dot(weights, [*query, *key])


def message(query, keys, values, weights, *, softmax=False):
    """The sum over nodes of attention times value, to one instance (eq. 2, 6)."""
    logits = [attention(weights, query, key) for key in keys]
    if softmax:
        total = sum(math.exp(logit) for logit in logits)
        shares = [math.exp(logit) / total for logit in logits]
    else:
        shares = [max(logit, 0) / len(keys) for logit in logits]
    return [
        sum(share * value[channel] for share, value in zip(shares, values, strict=True))
        for channel in range(len(values[0]))
    ]


def local(query, key, value, weights):
    """From one node (eq. 4, 5)."""
    share = max(attention(weights, query, key), 0)
    return [share * channel for channel in value]


def ranking_loss(scores, ranks, gamma):
    """Eq. 12 and 13, over the pairs whose order is known; 0 without any."""
    losses, weights = [], []
    for i in range(len(scores)):
        for j in range(i + 1, len(scores)):
            if ranks[i] == ranks[j]:
                continue
            first, second = (i, j) if ranks[i] < ranks[j] else (j, i)
            losses.append(math.log(1 + math.exp(-scores[first] + scores[second])))
            weights.append(abs(ranks[first] - ranks[second]) ** gamma)
    pairs = zip(losses, weights, strict=True)
    return sum(loss * weight for loss, weight in pairs) / sum(weights) if weights else 0.0


def released_ranking_loss(scores, ascending):
    """As the public code has it: larger ranks are more salient, 1 to N, each once; gamma 1."""
    count, total = len(scores), 0.0
    norm = sum(step * (count - step) for step in range(1, count))
    for i in range(count):
        for j in range(i + 1, count):
            sign = 1 if ascending[i] > ascending[j] else -1
            loss = math.log(1 + math.exp(sign * (scores[j] - scores[i])))
            total += loss * abs(ascending[i] - ascending[j]) / norm
    return total


def rank_cross_entropy(logits, ranks):
    """The mean of -log of the probability of each rank; those beyond the last count as it."""
    total = 0.0
    for row, rank in zip(logits, ranks, strict=True):
        chosen = min(rank, len(row)) - 1
        total -= row[chosen] - math.log(sum(math.exp(logit) for logit in row))
    return total / len(ranks)
