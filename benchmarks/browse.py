"""How fast the page answers: 10,000 images of 500 x 375, four stages of label maps, 3 revisions.

    python -m benchmarks.browse [--images 10000]

A repository is made by hand (no stage runs), the server is started as a user would, and asked as
a browser asks: six connections at once. First page: from the first request after the start.
"""

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from pathlib import Path
from re import findall

import httpx
import numpy as np
import psutil
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table

from stages.io.label_maps import encode_label_map
from tests.pipelines.made_repository import Made, MadeRepository, dataset_stage
from tests.pipelines.page import serving

WIDTH, HEIGHT, DISTINCT = 500, 375, 64
STAGES = {
    "seeds_fuse": "data/seeds_fuse/fused",
    "walk_label": "data/walk_label/labels",
    "a2gnn_label": "data/a2gnn_label/labels",
    "crf_refine@a2gnn": "data/crf_refine/a2gnn",
}


def main() -> None:
    """Make the repository, start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    count = parser.parse_args().images
    table = Table("", "", title=f"{count} images, {len(STAGES)} stages of labels, 3 revisions")
    with tempfile.TemporaryDirectory() as folder:
        revisions = make_repository(Path(folder), count)
        with (
            serving(Path(folder)) as served,
            httpx.Client(base_url=served.address, timeout=120) as client,
        ):
            measure(client, table, revisions)
            memory = psutil.Process(served.pid).memory_info().rss
            table.add_row("memory of the server", f"{memory / 2**20:.0f} MiB")
    Console(width=100).print(table)


def measure(client: httpx.Client, table: Table, revisions: list[str]) -> None:
    """One row per question."""
    table.add_row("first page", f"{seconds(lambda: client.get('/')):.2f} s")
    table.add_row("the same again", f"{seconds(lambda: client.get('/')):.2f} s")
    grid = "/stage?name=a2gnn_label"
    table.add_row("grid of 60, first time", f"{seconds(lambda: page(client, grid)):.2f} s")
    table.add_row(
        "grid of 60, another page", f"{seconds(lambda: page(client, grid + '&page=9')):.2f} s"
    )
    table.add_row("grid of 60, again", f"{seconds(lambda: page(client, grid)):.2f} s")
    one = "/image?id=image_00005"
    table.add_row("an image through all stages", f"{seconds(lambda: page(client, one)):.2f} s")
    query = f"first={revisions[0]}&second={revisions[1]}&layer=crf_refine/a2gnn"
    table.add_row(
        "compare, first time", f"{seconds(lambda: client.get(f'/compare?{query}')):.2f} s"
    )
    query = f"first={revisions[0]}&second={revisions[2]}&layer=crf_refine/a2gnn"
    table.add_row(
        "compare, tables read", f"{seconds(lambda: client.get(f'/compare?{query}')):.2f} s"
    )
    began = time.monotonic()
    lines = 0
    with client.stream("GET", f"/compare/scores?{query}") as answer:
        for line in answer.iter_lines():
            lines += 1
            json.loads(line)
    taken = time.monotonic() - began
    table.add_row(
        "pixels of all that differ", f"{lines} in {taken:.0f} s, {taken / lines * 1000:.1f} ms each"
    )
    for name in list(STAGES):
        for number in revisions:
            page(client, f"/stage?name={name}&rev={number}")
    states = client.get("/states").status_code
    table.add_row("states of the stages", "answered" if states == 200 else f"status {states}")


def page(client: httpx.Client, address: str) -> None:
    """A page with all its pictures, six at a time."""
    answer = client.get(address)
    assert answer.status_code == 200, answer.text
    pictures = [
        unescape(found) for found in findall(r'src="(/(?:photograph|layer)[^"]+)"', answer.text)
    ]
    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(client.get, pictures):
            assert found.status_code == 200, found.text


def seconds(act: Callable[[], object]) -> float:
    """Wall time of a call."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def make_repository(root: Path, count: int) -> list[str]:
    """Fill it; the commits of the three revisions, newest first."""
    repository = MadeRepository(root)
    random = np.random.default_rng(0)
    ids = [f"image_{number:05d}" for number in range(count)]
    photographs, maps = [], []
    for _ in range(DISTINCT):
        photograph, labels = scene(random)
        photographs.append(photograph)
        maps.append(labels)
    scenes, dataset = dataset_stage(
        {
            image_id: (photographs[number % DISTINCT] + image_id.encode(), WIDTH, HEIGHT)
            for number, image_id in enumerate(ids)
        },
        names=["cat", "dog", "bird"],
        boxes={
            image_id: [(1 + number % 3, 50, 50, 300, 300)] for number, image_id in enumerate(ids)
        },
    )
    commits = []
    for revision in range(3):
        stages = {"scenes": scenes, "dataset": dataset}
        for stage, folder in STAGES.items():
            files = {}
            for number, image_id in enumerate(ids):
                # two thirds change from one revision to the next
                turn = revision if number % 3 else 0
                content = maps[(number + turn) % DISTINCT] + f"{stage} {turn} {number}".encode()
                files[f"{image_id}.png"] = content
            stages[stage] = Made(
                {folder: files},
                ["data/dataset/images.parquet"],
                {f"{stage.split('@')[0]}.turn": revision},
            )
        commits.append(repository.commit(stages, f"revision {revision}"))
    return commits[::-1]


def scene(random: np.random.Generator) -> tuple[bytes, bytes]:
    """A JPEG with texture, and a label map with a few ellipses."""
    noise = random.integers(0, 255, (HEIGHT // 8 + 1, WIDTH // 8 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    labels = Image.new("L", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(labels)
    for _ in range(4):
        x, y = random.integers(0, WIDTH), random.integers(0, HEIGHT)
        a, b = random.integers(20, 120, 2)
        draw.ellipse((x - a, y - b, x + a, y + b), fill=int(random.integers(1, 4)))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue(), encode_label_map(np.array(labels))


if __name__ == "__main__":
    main()
