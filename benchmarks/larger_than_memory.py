"""Batches from a mapped file against batches from memory: python -m benchmarks.larger_than_memory [--gigabytes 20].

Both go through `TrainingBatches`, as in training, prepared ahead by a thread, turn by turn in one process: the same
images from an array in memory and from a file on disk; then a sparse file of the given size, larger than what memory
has left. Prints images/s, the ratio, and how much memory of its own the process took. One stream is alive at a time,
and its first batches are not timed: a thread that prepares ahead while another stream is measured would take processors
from that one, and would have batches ready when its own turn comes.
"""

import argparse
import contextlib
import csv
import io
import math
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.job import ROOT, results_folder
from utils.batches import TrainingBatches
from utils.cli import Parser, run_cli
from utils.config import Config
from utils.datasets.faces import Faces
from utils.errors import UserError
from utils.files import machine_errors, write_atomically
from utils.runtime import environment

SIDE, BATCH, ROUNDS = 224, 64, 7
BEFORE = 4  # batches of a stream before it is timed: more than are prepared ahead
CLASSES = tuple("abcdefg")
RESULTS = "larger_than_memory.csv"
LEAST = {"gigabytes": 0.01, "warm": 0.01, "images": BATCH, "threads": 1}


def main() -> None:
    """Measure, print and write ``results/bench/larger_than_memory.csv`` (other sizes: saved/results/bench)."""
    parser = Parser((__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=20, help="size of the sparse file (20)")
    parser.add_argument("--warm", type=float, default=1, help="size of the set that fits into memory (1)")
    parser.add_argument("--images", type=int, default=1024, help="images in a round (1024)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "saved" / "data", help="where the files are made, and deleted again"
    )
    arguments = parser.parse_args()
    _check(arguments)
    torch.set_num_threads(arguments.threads)
    with (
        machine_errors(arguments.folder, int(1e9 * arguments.warm)),
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
    ):
        rows = list(_measured(Path(folder), arguments))
    facts = ", ".join(f"{key} {value}" for key, value in environment().items())
    print(f"{SIDE} px colour, batches of {BATCH}, {arguments.threads} threads; {facts}")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path = results_folder(all(getattr(arguments, name) == parser.get_default(name) for name in LEAST)) / RESULTS
    write_atomically(path, text.getvalue().encode())
    print(path)


def _check(arguments: argparse.Namespace) -> None:
    for name, least in LEAST.items():
        value = getattr(arguments, name)
        if not least <= value < math.inf:
            raise UserError(f"--{name} must be a number from {least}; got {value}")
    if not arguments.folder.is_dir():
        raise UserError(f"--folder: {arguments.folder}: no such folder")


def _measured(folder: Path, arguments: argparse.Namespace) -> Iterator[dict[str, object]]:
    count = int(arguments.warm * 1e9 / (3 * SIDE**2))
    resident = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    np.save(folder / "warm.npy", resident)
    mapped = np.load(folder / "warm.npy", mmap_mode="c")
    steps = max(1, arguments.images // BATCH)
    for augment in ("none", "fast"):
        pairs = [[_rate(s, augment, steps, number) for s in (resident, mapped)] for number in range(1 + ROUNDS)][1:]
        ratio = statistics.median(b / a for a, b in pairs)
        yield {
            "set": f"{arguments.warm:g} GB, page cache warm",
            "augment": augment,
            "memory_img_s": f"{statistics.median(a for a, _ in pairs):.0f}",
            "disk_img_s": f"{statistics.median(b for _, b in pairs):.0f}",
            "ratio": f"{ratio:.3f}",
            "own_memory_GB": "",
        }
    del resident, mapped
    before = _own_memory()
    count = int(arguments.gigabytes * 1e9 / (3 * SIDE**2))
    large = np.lib.format.open_memmap(folder / "large.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    rate = _rate(large, "none", ROUNDS * steps, 0)  # of one stream, which reads no image twice
    yield {
        "set": f"{arguments.gigabytes:g} GB, sparse, first read",
        "augment": "none",
        "memory_img_s": "",
        "disk_img_s": f"{rate:.0f}",
        "ratio": "",
        "own_memory_GB": f"{(_own_memory() - before) / 1e9:.2f}",
    }


def _stream(images: np.ndarray, augment: str, epoch: int) -> Generator[tuple[torch.Tensor, torch.Tensor], None, None]:
    """Endless batches from ``epoch`` on, as a training asks for them, prepared ahead by a thread."""
    labels = np.arange(len(images)) % len(CLASSES)
    faces = Faces(images, labels, [""] * len(images), None, CLASSES)
    config = Config(image_size=SIDE, batch_size=BATCH, augment=augment, num_workers=1)
    batches = TrainingBatches(faces, config, torch.device("cpu"))
    while True:
        yield from batches.epoch(epoch)
        epoch += 1


def _rate(images: np.ndarray, augment: str, steps: int, number: int) -> float:
    """Images/s of a stream that lives for this round alone; every ``number`` draws other images, for all streams alike.

    As nothing is done with a batch, the next one is waited for: what is timed is how fast they are prepared.
    """
    with contextlib.closing(_stream(images, augment, number)) as stream:
        for _ in range(BEFORE):
            next(stream)
        start = time.perf_counter()
        count = sum(len(next(stream)[1]) for _ in range(steps))
        return count / (time.perf_counter() - start)


def _own_memory() -> int:
    """Bytes that belong to this process alone; pages of a mapped file are the system's, to be dropped at need."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    run_cli(main)
