"""What ranking costs: a ranking network beside a plain Mask R-CNN of the same parts.

    ./python -m benchmarks.ranking_speed [--size 480 640] [--backbone resnet18] [--detections 8]
        [--repeats 15]

Both have new weights and find as many instances, all of which are outlined, and ranked by all four
graphs. They take turns; printed are the medians, in ms of CPU time, and that of the ratio.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from models.detection import DetectorSizes
from models.irsr.branch import Ranking
from models.irsr.network import RankingSpec
from models.maskrcnn import MaskRCNNSpec


def seconds(call: Callable[[], object]) -> float:
    """CPU seconds of a call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    """Print both times and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, nargs=2, default=[480, 640], metavar=("H", "W"))
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--pyramid", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--detections", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=15)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    size = (arguments.size[0], arguments.size[1])
    sizes = DetectorSizes(
        arguments.pyramid, arguments.hidden, 16, 100, 32, arguments.detections, 0.5
    )
    cues = ("relation", "local", "global", "person")
    ranking = Ranking("paper", "graphs", cues, 8, 7, True, "pairs", 1.0, 8)
    plain = MaskRCNNSpec(arguments.backbone, 1.0, 2, True, sizes).build().eval()
    ranker = RankingSpec(arguments.backbone, 1.0, size, sizes, ranking).build().eval()
    image = torch.rand(3, *size)
    found = len(plain.detect(image).boxes), len(ranker.detect(image, 0.0)[0].boxes)
    turns = [
        (seconds(lambda: plain.detect(image)), seconds(lambda: ranker.detect(image, 0.0)))
        for _ in range(arguments.repeats)
    ]
    for name, count, times in zip(
        ("Mask R-CNN", "ranker"), found, zip(*turns, strict=True), strict=True
    ):
        print(f"{name}: {1000 * statistics.median(times):.0f} ms, {count} instances")
    ratio = statistics.median(second / first for first, second in turns)
    print(f"{arguments.backbone}, {size[0]} x {size[1]}: {ratio:.2f} times the plain one")


if __name__ == "__main__":
    main()
