from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.mini_repository import MiniRepository


@pytest.fixture
def mini(tmp_path: Path) -> Iterator[MiniRepository]:
    repository = MiniRepository(tmp_path)
    yield repository
    repository.close()
