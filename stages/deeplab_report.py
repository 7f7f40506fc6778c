"""One self-contained HTML page: the final network, beside the same trained on ground truth.

It shows what labels_eval has measured, and measures nothing itself. It is a page of its own, so
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


def deeplab_report(
    params: Params, network: Path, network_crf: Path, bound: Path, bound_crf: Path, out: Path
) -> None:
    """Write out/deeplab.html.

    Args:
        params: none.
        network: what labels_eval has measured of the network trained on the final labels.
        network_crf: the same, of its labels after the CRF.
        bound: as `network`, of the upper bound, trained on ground truth.
        bound_crf: as `network_crf`, of the upper bound.
        out: folder.

    Raises:
        InputError: a file is missing or unreadable.
    """
    ours, best = _read(network, network_crf), _read(bound, bound_crf)
    keys = [key for key in ("miou_classes", "miou") if ours.get(f"{key}_crf") is not None]
    context = {
        "name": "DeepLab",
        "network": ours,
        "bound": best,
        "ratio": {key: _percent(ours[key], best.get(key)) for key in _averages(ours)},
        "key": keys[0] if keys else None,
        "classes": list(ours["iou_crf"]),
    }
    write_page(out / "deeplab.html", "network.html.j2", context)


def _read(plain: Path, refined: Path) -> dict[str, Any]:
    """The measures of one network; those after the CRF end in _crf."""
    after = {f"{key}_crf": value for key, value in read_measures(refined).items()}
    return read_measures(plain) | after


def _averages(measures: dict[str, Any]) -> list[str]:
    return [key for key in measures if key.startswith("miou")]


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


if __name__ == "__main__":
    run(deeplab_report)
