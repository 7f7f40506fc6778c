"""SEAM's module and losses, one cell after the other, one value after the other."""

import torch
from torch import Tensor


def pixel_correlation(scores: Tensor, embedding: Tensor) -> Tensor:
    """[B, K, h, w] and [B, D, h, w] -> [B, K, h, w] by the whole table of cosines."""
    batch, kinds, height, width = scores.shape
    cells = [(y, x) for y in range(height) for x in range(width)]
    result = []
    for image in range(batch):
        units = {
            (y, x): embedding[image, :, y, x]
            / (embedding[image, :, y, x].square().sum().sqrt() + 1e-5)
            for y, x in cells
        }
        columns = []
        for j in cells:
            weights = torch.stack([(units[i] * units[j]).sum().clamp(min=0) for i in cells])
            weights = weights / (weights.sum() + 1e-5)
            old = torch.stack([scores[image, :, y, x] for y, x in cells])  # [N, K]
            columns.append((weights[:, None] * old).sum(0))
        result.append(torch.stack(columns, dim=1).view(kinds, height, width))
    return torch.stack(result)


def correlation_scores(maps: Tensor) -> Tensor:
    """What the module spreads, of [B, C, h, w]: [B, 1 + C, h, w]."""
    batch, classes, height, width = maps.shape
    scores = torch.zeros(batch, 1 + classes, height, width, dtype=maps.dtype)
    for b in range(batch):
        peaks = [max(float(maps[b, c].max()), 0.0) + 1e-5 for c in range(classes)]
        for y in range(height):
            for x in range(width):
                found = [
                    max(max(float(maps[b, c, y, x]), 0.0) - 1e-5, 0.0) / peaks[c]
                    for c in range(classes)
                ]
                scores[b, 0, y, x] = 1 - max(found)
                for c, value in enumerate(found):
                    scores[b, 1 + c, y, x] = value if value == max(found) else 0
    return scores


def normalized(maps: Tensor) -> Tensor:
    """Each [h, w] stretched to [0, 1)."""
    result = []
    for image in maps:
        for one in image:
            x = one.clamp(min=0)
            result.append((x - x.min() - 1e-5).clamp(min=0) / (x.max() - x.min() + 1e-5))
    return torch.stack(result).view_as(maps)


def losses(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], tags: Tensor, share: float
) -> dict[str, Tensor]:
    """Of maps [B, C, h, w] and refined maps [B, 1 + C, h, w] of two views."""
    batch, classes, height, width = first[0].shape
    known = torch.cat([torch.ones_like(tags[:, :1]), tags], dim=1)
    one, two = (normalized(view[0]) * tags[:, :, None, None] for view in (first, second))
    fine = [normalized(view[1]) * known[:, :, None, None] for view in (first, second)]
    cells = [(y, x) for y in range(height) for x in range(width)]
    equivariance = [
        (one[b, c, y, x] - two[b, c, y, x]).abs()
        for b in range(batch)
        for c in range(classes)
        for y, x in cells
    ]
    cross = torch.zeros((), dtype=tags.dtype)
    for target, refined in ((two, fine[0]), (one, fine[1])):
        kept = []
        for b in range(batch):
            differences = []
            for y, x in cells:
                values = [value.item() for value in target[b, :, y, x]]
                differences.append((1 - max(values) - refined[b, 0, y, x]).abs())
                for c, value in enumerate(values):
                    wanted = value if value == max(values) else 0.0
                    differences.append((wanted - refined[b, 1 + c, y, x]).abs())
            count = int(len(differences) * share)
            kept += sorted(differences, key=Tensor.item, reverse=True)[:count]
        cross = cross + torch.stack(kept).mean()
    least = []
    for view in (first, second):
        for b in range(batch):
            strongest = [(view[1][b, 1:, y, x] * tags[b]).max() for y, x in cells]
            least += sorted(strongest, key=Tensor.item)[: len(cells) // 4]
    return {
        "equivariance": torch.stack(equivariance).mean(),
        "cross": cross,
        "min_pool": torch.stack(least).clamp(min=0).mean(),
    }
