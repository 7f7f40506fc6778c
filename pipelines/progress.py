"""Which stages run, and how far they are: for `status`, the page, and bars on the terminal."""

from pathlib import Path

from stages.io.progress import FOLDER, Progress, read_progress


def running_stages(root: Path) -> dict[str, Progress]:
    """The stages at work in `root` at this moment, whoever started them, by DVC's name.

    Cheap (a small file each) and never wrong about a stage that was killed. `str()` of a Progress
    is one line such as "120 of 437 images, 0.38/s, 14 min left"; its `total` is 0 where the stage
    has not counted anything yet.
    """
    found = (read_progress(path) for path in sorted((root / FOLDER).glob("*.json")))
    return {progress.stage: progress for progress in found if progress is not None}
