"""Seconds of processor that ranking_eval takes for 10,000 images of 640 x 480, read already.

    ./python -m benchmarks.ranking_scores [--images 10000]

Two to eight instances an image, as many found, a third of them somewhere else. The goal: below 60.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from stages.io.data_set import ImageFile
from stages.io.label_maps import encode_rle
from stages.ranking_eval import image_scores
from stages.sources.ranked_predictions import Ranked

SIZE = (480, 640)


def mask(rng: np.random.Generator) -> str:
    """Run lengths of an ellipse."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    x, y = rng.uniform(0.1, 0.9, 2) * SIZE[::-1]
    across, down = rng.uniform(20, 120, 2)
    return encode_rle(((columns - x) / across) ** 2 + ((rows - y) / down) ** 2 < 1)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    images = parser.parse_args().images
    rng = np.random.default_rng(0)
    image = ImageFile("a", Path("a"), "", SIZE[1], SIZE[0])
    drawn = []
    for _ in range(min(images, 500)):  # drawing them takes longer than measuring
        true = [{"mask": mask(rng), "rank": n} for n in range(1, rng.integers(2, 9))]
        masks = [mask(rng) if rng.random() < 1 / 3 else row["mask"] for row in true]
        found = [Ranked(str(each), rng.random(), rng.random()) for each in masks]
        drawn.append((true, found))
    start = time.process_time()
    for number in range(images):
        image_scores(image, *drawn[number % len(drawn)])
    print(f"{images} images: {time.process_time() - start:.1f} s of one processor")


if __name__ == "__main__":
    main()
