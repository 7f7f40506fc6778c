"""What the fusion of WSID-Net costs: one 500 x 375 photograph with five instances.

    python -m benchmarks.instance_fusion

One thread. CPU seconds, the best of five runs, and the peak memory beyond what the process had
before, of the whole fusion (offsets followed, clusters, walk, masks).
"""

import resource
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from models.wsid.fusion import Fusion, salient_instances

SIZE, CELL = (375, 500), 4
#: Centres (row, column) and radius of each instance, in cells.
DISCS = ((25, 20, 14), (60, 30, 18), (30, 62, 16), (65, 85, 17), (25, 105, 15))
SETTINGS = Fusion(
    look_ups=300,
    short=2.5,
    least_area=0.01,
    walk_radius=5,
    walk_beta=10.0,
    walk_steps=256,
    tolerance=1e-3,
    background=0.25,
    least_share=0.5,
)


def drawn_maps() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Saliency, boundaries and offsets of the discs, with noise."""
    generator = np.random.default_rng(0)
    height, width = (-(-side // CELL) for side in SIZE)
    rows, columns = np.mgrid[:height, :width]
    apart = np.stack([np.hypot(rows - y, columns - x) - radius for y, x, radius in DISCS])
    nearest = apart.argmin(axis=0)
    saliency = 1 / (1 + np.exp(apart.min(axis=0)))
    boundaries = np.exp(-np.abs(apart.min(axis=0))) * 0.9
    centres = np.array(DISCS, dtype=float)
    offsets = np.stack([centres[nearest, 0] - rows, centres[nearest, 1] - columns])
    offsets += generator.normal(0, 0.3, offsets.shape)
    return (
        torch.from_numpy(saliency).float(),
        torch.from_numpy(boundaries).float(),
        torch.from_numpy(offsets).float(),
    )


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    maps = drawn_maps()
    with threadpool_limits(1):
        small = tuple(one[..., :20, :20] for one in maps)
        salient_instances(small[0], small[1], small[2], (80, 80), CELL, SETTINGS)  # warm
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = []
        for _ in range(5):
            start = time.process_time()
            found = salient_instances(*maps, SIZE, CELL, SETTINGS)
            seconds.append(time.process_time() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{len(found)} instances, {min(seconds):.3f} CPU s, {peak / 1024:.0f} MB")


if __name__ == "__main__":
    main()
