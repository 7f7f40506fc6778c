import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Not of this repository: names to be chosen, and what only a run writes.
NOT_KEPT = ("NAME", "LINE", "regions_label", "data/", "docs/")


def named(text: str) -> list[str]:
    """The files and folders that a text names between backticks."""
    words = re.findall(r"`([\w./]+)`", text)
    paths = [word for word in words if "/" in word or word.endswith((".py", ".yaml"))]
    return [path for path in paths if not any(part in path for part in NOT_KEPT)]


@pytest.mark.parametrize("path", named((ROOT / "docs/extending.md").read_text()))
def test_what_docs_extending_names_is_there(path: str) -> None:
    assert (
        list(ROOT.glob(path) if "/" in path else ROOT.glob(f"[!.]*/**/{path}"))
        or (ROOT / path).exists()
    )
