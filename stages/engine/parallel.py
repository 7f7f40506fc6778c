"""Images one by one, in as many processes as there are cores, one torch thread each.

A handful of images, or quick ones, stay in one process: to start others would take longer.
SEEDMASK_WORKERS=N asks for N processes all the same.

With SEEDMASK_DASK=tcp://HOST:PORT the workers of that Dask cluster compute instead. They need this
folder under the same path; they and the scheduler need its code on their PYTHONPATH.
"""

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from threadpoolctl import threadpool_limits

from stages.engine.environment import read_count, read_share
from stages.engine.errors import InputError
from stages.engine.files import write_bytes
from stages.engine.memo import Memo, Outcome, files_of, keep_outcome, look_of, read_outcome
from stages.engine.progress import counted

#: One image's work: a frozen dataclass that holds all its function reads. Fields are plain values,
#: tuples, nested dataclasses (the stage's params too) and paths of the files read; nothing else may
#: influence the result (stages.engine.memo), so the image's id is one where files are named by it.
ItemT = TypeVar("ItemT")
WorkT = TypeVar("WorkT")
ResultT = TypeVar("ResultT")


class Work(NamedTuple, Generic[ItemT]):
    """An image that is to be computed.

    Attributes:
        image_id: which, for messages.
        item: all that its outcome depends on.
        path: where the outcome will be kept.
    """

    image_id: str
    item: ItemT
    path: Path


#: How many processes compute the images.
WORKERS = "SEEDMASK_WORKERS"
#: Share of the kept outcomes that `map_images` computes again instead of its work; see below.
VERIFY = "SEEDMASK_VERIFY_MEMO"
#: Seconds of work left that are worth a pool: each of its processes imports the stage anew, which
#: takes 2 to 4 s of processor time with torch.
POOL_START = 3.0
#: Address of a Dask scheduler whose workers compute the images.
DASK = "SEEDMASK_DASK"


def default_workers() -> int:
    """How many may work at once: SEEDMASK_WORKERS, else the cores this process may use."""
    return read_count(WORKERS, usable_cores())


def usable_cores() -> int:
    """The cores this process may use; all of the machine where the system does not tell."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def map_images(
    function: Callable[[ItemT], Outcome],
    items: Mapping[str, ItemT],
    out: Path,
    *,
    stage: str,
    workers: int | None = None,
) -> list[Mapping[str, float]]:
    """Apply `function` to every item and write the files it returns below `out`.

    Results do not depend on the number of workers. Outcomes are kept in the memo store, so what a
    killed run has finished is not computed again. With SEEDMASK_VERIFY_MEMO=0.01 nothing is
    written: 1 % of the kept outcomes are computed again and compared, and the process ends.

    Args:
        function: pure and picklable (a module's own function); seeds itself from its item.
        items: one per image, by its id.
        out: the stage's output folder.
        stage: the stage's name, for the memo store.
        workers: processes; 1 stays in this one. None is SEEDMASK_WORKERS, else one per core
            where that is worth their start.

    Returns:
        The stats of each item, in order.

    Raises:
        Exception: what `function` raised, with a note that names the image.
        InputError: a file of an item, or the stage's code, changed meanwhile.
        SystemExit: with SEEDMASK_VERIFY_MEMO; 1 when a kept outcome differs.
    """
    memo = Memo(stage)
    workers = workers or read_count(WORKERS, 0) or None
    share = read_share(VERIFY)
    if share:
        image_ids = _sample(memo, items, share)
        sample = [items[image_id] for image_id in image_ids]
        differ = _each(partial(_differs, function, memo), sample, workers, stage, 0)
        different = [
            image_id for image_id, differs in zip(image_ids, differ, strict=True) if differs
        ]
        print(f"{stage}: {len(image_ids)} kept results computed again, {len(different)} differ")
        for image_id in different:
            print(f"{stage}: {image_id} differs")
        raise SystemExit(1 if different else 0)
    out.mkdir(parents=True, exist_ok=True)
    # Kept outcomes are looked up here, so that no process starts when little or nothing is missing.
    with ThreadPoolExecutor(workers or default_workers()) as pool:
        looked_up = pool.map(memo.path, items.values())  # which reads what the items hold
        paths = list(counted(looked_up, stage, "images looked up", total=len(items)))
        kept = list(pool.map(partial(_restore, out), paths))
    known = zip(items.items(), paths, kept, strict=True)
    missing = [Work(*entry, path) for entry, path, stats in known if stats is None]
    restored = len(items) - len(missing)
    if restored:
        print(f"{stage}: {restored} of {len(items)} images kept from earlier runs", file=sys.stderr)
    address = os.environ.get(DASK)
    if address and missing:
        step = partial(_compute, function, memo)
        computed = _on_dask(address, step, missing, out, stage, restored)
    else:
        write = partial(_compute_and_write, function, memo, out)
        computed = _each(write, missing, workers, stage, restored)
    new = iter(computed)
    return [next(new) if stats is None else stats for stats in kept]


def _each(
    step: Callable[[WorkT], ResultT],
    items: Sequence[WorkT],
    workers: int | None,
    name: str,
    done: int,
) -> list[ResultT]:
    """`step` of every item, in order; `done` others need none."""
    with threadpool_limits(1):
        results = _results(step, items, workers)
        return list(counted(results, name, "images", total=done + len(items), done=done))


def _results(
    step: Callable[[WorkT], ResultT], items: Sequence[WorkT], workers: int | None
) -> Iterator[ResultT]:
    """From so many processes; None: from this one, from a pool when enough work is left for it."""
    if workers is not None and min(workers, len(items)) > 1:
        yield from _pool_results(step, items, workers)
        return
    cores = default_workers() if workers is None else 1
    warm = 0.0  # when the first item was done, which also loads what all need
    for done, item in enumerate(items):
        if cores > 1 and done > 1:
            left = (time.monotonic() - warm) / (done - 1) * (len(items) - done)
            if left > POOL_START:
                yield from _pool_results(step, items[done:], cores)
                return
        result = step(item)
        warm = warm or time.monotonic()
        yield result


def _pool_results(
    step: Callable[[WorkT], ResultT], items: Sequence[WorkT], workers: int
) -> Iterator[ResultT]:
    workers = min(workers, len(items))
    context = get_context("spawn")
    chunk = max(1, min(8, len(items) // (4 * workers)))
    with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
        try:
            yield from pool.map(step, items, chunksize=chunk)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _on_dask(
    address: str,
    step: Callable[[WorkT], Outcome],
    items: Sequence[WorkT],
    out: Path,
    name: str,
    done: int,
) -> list[Mapping[str, float]]:
    """The stats of every item, computed by the workers of a Dask cluster.

    Files are written here: a worker outlives this process and must not write into `out` then.

    Raises:
        InputError: Dask is not installed, or nothing answers at `address`.
    """
    try:
        from distributed import Client, as_completed
    except ImportError as error:
        raise InputError(f"{DASK}: needs Dask: pip install distributed") from error
    try:
        client = Client(address, timeout="20s")  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:  # TypeError: tls:// without a certificate
        raise InputError(f"{DASK}: no Dask scheduler at {address}: {error}") from error
    stats: dict[int, Mapping[str, float]] = {}
    with client:
        futures = client.map(partial(_in_folder, Path.cwd(), step), items, pure=False)
        indices = {future.key: index for index, future in enumerate(futures)}
        ended = as_completed(futures)  # type: ignore[no-untyped-call]
        for future in counted(ended, name, "images", total=done + len(items), done=done):
            outcome = future.result()
            _write(outcome, out)
            stats[indices[future.key]] = outcome.stats
            future.release()
    return [stats[index] for index in range(len(items))]


def _in_folder(folder: Path, step: Callable[[WorkT], Outcome], item: WorkT) -> Outcome:
    os.chdir(folder)
    with threadpool_limits(1):
        return step(item)


def _restore(out: Path, path: Path) -> Mapping[str, float] | None:
    """Write what is kept at `path` and return its stats; None when nothing is."""
    outcome = read_outcome(path)
    if outcome is None:
        return None
    _write(outcome, out)
    return outcome.stats


def _compute_and_write(
    function: Callable[[ItemT], Outcome], memo: Memo, out: Path, work: Work[ItemT]
) -> Mapping[str, float]:
    outcome = _compute(function, memo, work)
    _write(outcome, out)
    return outcome.stats


def _compute(function: Callable[[ItemT], Outcome], memo: Memo, work: Work[ItemT]) -> Outcome:
    """The outcome of an item, which is kept at its path.

    Raises:
        InputError: a file of the item, or the stage's code, is not what its path was made from.
    """
    image_id, item, memo_path = work
    before = {path: look_of(path) for path in files_of(item)}
    try:
        outcome = function(item)
    except Exception as error:
        error.add_note(f"while working on image {image_id}")
        raise
    # The content first made the path and was read later; what was put back meanwhile shows in
    # its look alone.
    changed = [path for path, look in before.items() if look_of(path) != look]
    if changed or memo.path(item) != memo_path:
        what = ", ".join(map(str, changed)) or "a file it is made from"
        raise InputError(
            f"image {image_id}: {what} changed while the stage ran; run it again (what is "
            "done stays done)"
        )
    if not memo.has_same_code():
        raise InputError(f"{memo.folder.name}: its code changed while it ran; run it again")
    keep_outcome(memo_path, outcome)
    return outcome


def _write(outcome: Outcome, out: Path) -> None:
    for name, content in outcome.files.items():
        write_bytes(out / name, content)


def _sample(memo: Memo, items: Mapping[str, ItemT], share: float) -> list[str]:
    """That share, and at least one, of the images whose outcome is kept; the same in every run."""
    paths = ((memo.path(item), image_id) for image_id, item in items.items())
    kept = sorted((path.name, image_id) for path, image_id in paths if path.is_file())
    return [image_id for _, image_id in kept[: math.ceil(share * len(kept))]]


def _differs(function: Callable[[ItemT], Outcome], memo: Memo, item: ItemT) -> bool:
    """Whether the kept outcome is another than the one computed now, byte for byte."""
    return read_outcome(memo.path(item)) != function(item)


def _start_worker() -> None:
    """One thread per process; die with the parent, so that no orphan goes on writing."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for libraries that are not loaded yet
    threadpool_limits(1)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
