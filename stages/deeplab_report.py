"""One self-contained HTML page: the final network, beside the same trained on ground truth.

It shows what deeplab_eval has measured, and measures nothing itself. It is a page of its own, so
that the labels' report need not wait until two networks are trained.
"""

from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from stages.engine.command import run
from stages.io.pages import read_measures, write_page


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Params:
    """The stage has no numbers."""


def deeplab_report(params: Params, labels: Path, ground_truth: Path, out: Path) -> None:
    """Write out/deeplab.html.

    Args:
        params: none.
        labels: what deeplab_eval has measured of the network trained on the final labels.
        ground_truth: the same of the upper bound, trained on ground truth.
        out: folder.

    Raises:
        InputError: a file is missing or unreadable.
    """
    network, bound = read_measures(labels), read_measures(ground_truth)
    keys = [key for key in ("miou_classes", "miou") if network.get(f"{key}_crf") is not None]
    context = {
        "network": network,
        "bound": bound,
        "ratio": {key: _percent(network[key], bound.get(key)) for key in _averages(network)},
        "key": keys[0] if keys else None,
        "classes": list(network["iou_crf"]),
    }
    write_page(out / "deeplab.html", "deeplab.html.j2", context)


def _averages(measures: dict[str, Any]) -> list[str]:
    return [key for key in measures if key.startswith("miou")]


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


if __name__ == "__main__":
    run(deeplab_report)
