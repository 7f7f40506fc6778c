import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.gallery import Gallery, make_gallery
from tests.pipelines.made_repository import dvc
from tests.pipelines.mini_repository import MiniRepository


@pytest.fixture
def mini(tmp_path: Path) -> Iterator[MiniRepository]:
    repository = MiniRepository(tmp_path)
    yield repository
    repository.close()


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MiniRepository]:
    """To be copied: `made` does."""
    repository = MiniRepository(tmp_path_factory.mktemp("made"))
    assert repository.run("run", "--local")[0] == 0
    yield repository
    repository.close()


@pytest.fixture
def made(first_run: MiniRepository, tmp_path: Path) -> Iterator[MiniRepository]:
    """A repository in which `run --local` made all of it."""
    repository = MiniRepository(tmp_path, like=first_run)
    yield repository
    repository.close()


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """To look at; a test that changes something takes `own_gallery`."""
    return make_gallery(tmp_path_factory.mktemp("gallery"))


@pytest.fixture
def own_gallery(gallery: Gallery, tmp_path: Path) -> Gallery:
    root = tmp_path / "gallery"
    shutil.copytree(gallery.root, root, ignore=shutil.ignore_patterns(".seedmask", "tmp"))
    return Gallery(root, gallery.first, gallery.second)


@pytest.fixture(scope="session")
def store(gallery: Gallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A remote that has all that the gallery's two commits recorded; the gallery knows it not."""
    folder = tmp_path_factory.mktemp("pushed")
    shutil.copytree(gallery.root, folder / "gallery", ignore=shutil.ignore_patterns("tmp"))
    dvc(folder / "gallery", "remote", "add", "-q", "-d", "--local", "store", str(folder / "store"))
    dvc(folder / "gallery", "push", "-q", "--all-commits")
    return folder / "store"
