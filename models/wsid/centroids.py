"""Where the offsets of the cells lead, and which cells meet there (WSID-Net eq. 1, 2; IRN).

Offsets are (dy, dx) in cells, from a cell to the centroid of its instance. A cell follows them:
where it has got to, the offsets are looked up again, bilinearly, until nothing moves. Centroids are
where offsets are short; cells that end in one piece of short offsets are one cluster.

# differs from the paper: eq. 1 looks up whole cells; IRN, which it follows, between them.

WSID-Net: https://arxiv.org/abs/2111.10137. IRN: https://arxiv.org/abs/1904.05044.
"""

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

#: The public code's.
ITERATIONS, SHORT = 300, 2.5


def follow_offsets(offsets: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Where each cell gets to.

    Args:
        offsets: (B, 2, h, w), (dy, dx) in cells.
        iterations: look-ups at most; it stops where no cell moves any more.

    Returns:
        (B, 2, h, w): (y, x) in cells, clamped to the map.
    """
    batch, _, height, width = offsets.shape
    rows = torch.arange(height, dtype=offsets.dtype, device=offsets.device)
    columns = torch.arange(width, dtype=offsets.dtype, device=offsets.device)
    last = offsets.new_tensor([height - 1, width - 1]).view(2, 1, 1)
    places = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))  # [2, h, w]
    places = places.expand(batch, 2, height, width).flatten(2)  # [B, 2, N]
    field, last = offsets.flatten(2), last.flatten(1)
    for _ in range(iterations):
        low, high = places.floor().long(), places.ceil().long()
        share = places - low  # of the higher one
        moved = places.clone()
        for y, up in ((low[:, 0], 1 - share[:, 0]), (high[:, 0], share[:, 0])):
            for x, across in ((low[:, 1], 1 - share[:, 1]), (high[:, 1], share[:, 1])):
                cells = (y * width + x)[:, None].expand(-1, 2, -1)
                moved += field.gather(2, cells) * (up * across)[:, None]
        moved = moved.clamp(min=0).minimum(last)
        if torch.equal(moved, places):
            break
        places = moved
    return places.view(batch, 2, height, width)


def find_centroids(offsets: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """The cell that each cell gets to: int64 (2, h, w) of offsets (2, h, w)."""
    return follow_offsets(offsets[None], iterations)[0].round().long()


def cluster_centroids(
    centroids: Tensor, offsets: Tensor, short: float = SHORT
) -> npt.NDArray[np.int64]:
    """Number the cells by the piece of short offsets that they get to.

    Args:
        centroids: int64 (2, h, w), of `find_centroids`.
        offsets: (2, h, w).
        short: offsets shorter than this, in cells, belong to a centroid.

    Returns:
        int64 [h, w], numbers from 0 without a gap; the cells that end beside all centroids, if
        there are any, are number 0, together.
    """
    lengths = offsets.detach().square().sum(0).sqrt().cpu().numpy()
    pieces, _ = ndimage.label(lengths < short)  # neighbours by a side
    y, x = centroids.cpu().numpy()
    _, numbers = np.unique(pieces[y, x], return_inverse=True)
    return numbers.reshape(lengths.shape).astype(np.int64)
