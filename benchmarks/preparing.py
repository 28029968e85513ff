"""What a large set costs before and beside its training: ``python -m benchmarks.preparing``.

Reading JPEGs of 224 px, hashing them at every start, looking for copies, the order of an epoch, and names in memory,
each through the function that a training calls, on one core; for larger sets, times their images.
"""

import tempfile
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.job import results_folder
from benchmarks.records import write_records
from utils.cli import Parser, run_cli
from utils.datasets.drawn_faces import draw_face
from utils.datasets.duplicates import image_hashes
from utils.datasets.faces import Faces
from utils.datasets.folder import read_folder
from utils.errors import UserError
from utils.randomness import shuffled
from utils.runtime import environment

SIDE, ROUNDS, JPEGS = 224, 3, 1000
GRAIN = 24  # standard deviation that makes a drawn face's JPEG as large as a photograph's
HASHED, NAMED, ORDERED = 2000, 100_000, 100_000_000  # images
CLASSES = ("a", "b")
# What is measured, as the table has it.
JPEG, READ = "size of a JPEG", "reading JPEGs"
HASH, COPIES = "hashing images at the start", "hashing images to find copies"
ORDER, ORDER_MEMORY = "order of an epoch", "order of an epoch, memory"
NAMES = "name and label, memory"
# The larger sets that docs/speed.md has figures for: images, and bytes of each.
COLOUR, GREY = (300_000, 3 * SIDE**2), (100_000_000, 48**2)
DISK = 0.5  # GB/s, of an ordinary one


@dataclass(frozen=True)
class Cost:
    """The median over the rounds; `large_sets_text` finds it by ``what``."""

    what: str
    value: float
    unit: str


def main() -> None:
    """Measure, print and write ``results/bench/preparing.csv`` (with fewer images: saved/results/bench).

    Raises:
        UserError: a number of images below 1.
    """
    parser = Parser("What reading, hashing and ordering a large set costs, on one core.")
    parser.add_argument("--images", type=int, default=ORDERED, help=f"in the order of an epoch (default {ORDERED:,})")
    options = parser.parse_args()
    if options.images < 1:
        raise UserError(f"command line: --images must be at least 1; got {options.images}")
    torch.set_num_threads(1)
    costs = [*_reading(), *_hashing(), *_ordering(options.images), _naming()]
    print(", ".join(f"{key} {value}" for key, value in environment().items()))
    for cost in costs:
        print(f"{cost.what:45s}{cost.value:>12g} {cost.unit}")
    path = results_folder(options.images == ORDERED) / "preparing.csv"
    write_records(costs, path)
    print(path)


def large_sets_text(costs: Mapping[str, float], rates: Sequence[Mapping[str, str]]) -> str:
    """The table, as Markdown: what is measured of one image, times as many as there are.

    Args:
        costs: value by what was measured, of ``preparing.csv``.
        rates: rows of ``larger_than_memory.csv``.
    """
    (count, size), (many, small) = COLOUR, GREY
    gigabytes, more = count * size / 1e9, many * small / 1e9
    warm = {row["augment"]: row for row in rates if row["ratio"]}
    (sparse,) = (row for row in rates if not row["ratio"])
    lines = [
        f"| on one core, {SIDE} px colour | measured | {count:,} images, {gigabytes:.0f} GB (the size of AffectNet) |",
        "|---|---|---|",
        f"| reading JPEGs of {costs[JPEG]:.0f} kB, once | {costs[READ]:.0f} images/s | {_long(count / costs[READ])} |",
        f"| hashing the images, at every start | {costs[HASH]:.1f} GB/s | {_long(gigabytes / costs[HASH])} |",
        "| looking for copies, when the test part is judged "
        f"| {costs[COPIES]:.1f} GB/s | {_long(gigabytes / costs[COPIES])} |",
        f"| names and labels in memory | {costs[NAMES]:.0f} bytes an image | {count * costs[NAMES] / 1e6:.0f} MB |",
    ]
    for augment, row in warm.items():
        named = "not augmented" if augment == "none" else f"augmented ({augment})"
        lines.append(
            f"| batches from the page cache, {named} | {int(row['disk_img_s']):,} images/s, {float(row['ratio']):.2f} "
            f"times memory's | an epoch in {_long(count / float(row['disk_img_s']))} |"
        )
    lines += [
        f"| batches of a sparse file, first read | {int(sparse['disk_img_s']):,} images/s "
        f"| an epoch in {_long(count / float(sparse['disk_img_s']))} |",
        "",
        f"By arithmetic, a disk of {DISK:g} GB/s gives {1e9 * DISK / size:,.0f} such images/s. {many // 10**6} million "
        f"grey images of 48 px are {more:.0f} GB: {_long(more / costs[HASH])} to hash, "
        f"{_long(many / 1e6 * costs[ORDER])} and {many * costs[ORDER_MEMORY] / 1e9:.1f} GB for an epoch's order, but "
        f"{many * costs[NAMES] / 1e9:.0f} GB of names in every process.",
    ]
    return "\n".join(lines)


def _long(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _reading() -> list[Cost]:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "faces")
        for label in CLASSES:
            (folder / label).mkdir(parents=True)
        for number in range(JPEGS):
            face = draw_face(number % 7, subject=number % 50, seed=number, size=SIDE)[..., None]
            pixels = np.clip(face + random.normal(0, GRAIN, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / CLASSES[number % 2] / f"{number:04d}.jpg", quality=85)
        size = sum(path.stat().st_size for path in folder.rglob("*.jpg")) / JPEGS
        caches = iter(range(ROUNDS))
        seconds = _median(lambda: read_folder(folder, Path(name, f"cache{next(caches)}"), side=SIDE, colour=True))
    return [
        Cost(JPEG, round(size / 1e3, 1), "kB"),
        Cost(READ, round(JPEGS / seconds), "images/s"),
    ]


def _hashing() -> list[Cost]:
    images = np.random.default_rng(0).integers(0, 256, (HASHED, SIDE, SIDE, 3), dtype=np.uint8)
    labels = np.zeros(HASHED, np.int64)
    start = _median(lambda: Faces(images, labels, [""] * HASHED, None, CLASSES).fingerprint())
    copies = _median(lambda: image_hashes(images))
    gigabytes = images.nbytes / 1e9
    return [
        Cost(HASH, round(gigabytes / start, 2), "GB/s"),
        Cost(COPIES, round(gigabytes / copies, 2), "GB/s"),
    ]


def _ordering(count: int) -> list[Cost]:
    seconds = _median(lambda: shuffled(0, 0, count))
    size = shuffled(0, 0, count).nbytes / 1e9
    seconds, size = seconds * 1e6 / count, size * 1e9 / count
    return [Cost(ORDER, round(seconds, 3), "s for a million"), Cost(ORDER_MEMORY, round(size), "bytes an image")]


def _naming() -> Cost:
    tracemalloc.start()
    try:
        kept = [f"folder/train/class/{number:09d}.jpg" for number in range(NAMED)], np.zeros(NAMED, np.int64)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    return Cost(NAMES, round(held / len(kept[0])), "bytes an image")


def _median(job: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        job()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


if __name__ == "__main__":
    run_cli(main)
